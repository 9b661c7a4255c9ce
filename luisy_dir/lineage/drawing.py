"""A drawing: a trace as a tree of lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from luisy_dir.item import printable

if TYPE_CHECKING:
    from luisy_dir.lineage.graph import Node, Trace

_GAP = 2
_OF_SOURCE = {
    "earlier version": "made from an earlier version",
    "changed": "made before its source changed",
    "gone": "its source is gone",
    "unknown": "its source cannot be looked at",
}


def drawn(trace: Trace) -> Iterator[str]:
    """Lines that show a trace: what was made from a file stands below it; of a second way to a file, one line."""
    rows = list(_Tree(trace).rows())
    width = max((len(left) for left, _ in rows), default=0) + _GAP
    for left, right in rows:
        yield f"{left:<{width}}{right}"
    within = printable(trace.within)
    if trace.is_empty:
        yield f"Nothing that is published below {within} was made of it."
    else:
        yield f"Paths are below {within}{', where results were looked for' if trace.forward else ''}."
    for warning in trace.warnings:
        yield f"Note: {printable(warning)}"


class _Tree:
    """Walks through a graph from its sources on, and comes to each node once."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._children: dict[int, list[tuple[int, str]]] = {}
        self._has_parent: set[int] = set()
        for edge in trace.edges:
            self._children.setdefault(edge.source, []).append((edge.target, edge.state))
            self._has_parent.add(edge.target)
        self._shown: set[int] = set()

    def rows(self) -> Iterator[tuple[str, str]]:
        """A branch with its path, and what is told of it, for each line."""
        numbers = range(len(self._trace.nodes))
        for number in numbers:
            if number not in self._has_parent:
                yield from self._below(number, "", "", "unchanged")
        for number in numbers:  # of a circle that manifests draw, nothing is the first
            if number not in self._shown:
                yield from self._below(number, "", "", "unchanged")

    def _below(self, number: int, branch: str, margin: str, state: str) -> Iterator[tuple[str, str]]:
        node = self._trace.nodes[number]
        is_again = number in self._shown
        self._shown.add(number)
        told = "as above" if is_again else told_of(node)
        of_source = f"; {_OF_SOURCE[state]}" if state in _OF_SOURCE else ""
        is_asked = "; asked for" if node.is_asked and number in self._has_parent and not is_again else ""
        yield branch + self._path(node), printable(told + of_source + is_asked)
        children = [] if is_again else self._children.get(number, [])
        for place, (child, of_child) in enumerate(children, 1):
            is_last = place == len(children)
            yield from self._below(
                child, margin + ("└─ " if is_last else "├─ "), margin + ("   " if is_last else "│  "), of_child
            )

    def _path(self, node: Node) -> str:
        return printable(node.path.removeprefix(self._trace.within.rstrip("/") + "/"))


def told_of(node: Node) -> str:
    """What is told of a node on one line."""
    if node.kind in {"raw", "unknown"}:
        return node.kind + (", gone" if node.state == "gone" else "")
    if node.task is None:
        return "of an unknown task"
    facts = [named_task(node.task, node.parameters or {}), f"generation {node.generation}"]
    facts += ["pinned"] if node.is_pinned else []
    facts += ["not known there any more"] if node.key is None else []
    facts += [node.status] if node.status not in {None, "written"} else []
    facts += [told_seconds(node.seconds)] if node.seconds is not None else []
    facts += [f"{node.state} since"] if node.state in {"changed", "gone"} and node.key is not None else []
    return ", ".join(facts)


def told_seconds(seconds: float) -> str:
    """How long something took, as people read it.

    Examples
    --------
    >>> told_seconds(0.00002), told_seconds(0.0123), told_seconds(1234.5)
    ('under 0.001 s', '0.012 s', '1,234 s')
    """
    if seconds < 0.001:  # noqa: PLR2004 - a millisecond
        return "under 0.001 s"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s"  # noqa: PLR2004 - two digits


def named_task(task: str, parameters: Mapping[str, str]) -> str:
    """A task as it is told to people.

    Examples
    --------
    >>> named_task("Resize", {"size": "64"}), named_task("ToNumpy", {})
    ('Resize(size=64)', 'ToNumpy')
    """
    values = ", ".join(f"{name}={value}" for name, value in parameters.items())
    return f"{task}({values})" if values else task
