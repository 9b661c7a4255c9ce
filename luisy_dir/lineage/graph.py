"""A trace as a graph: files, and which was made from which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from luisy_dir.lineage.drawing import drawn


@dataclass(frozen=True)
class Node:
    """A file of a trace, or an item without outputs.

    Parameters
    ----------
    path
        Absolute path; of an item without outputs its key below the directory; of an ``unknown`` file, which the record
        does not tell the place of, the name of its root and the path under that.
    kind
        ``raw``, ``output``, ``item`` (without outputs, such as one that failed), or ``unknown``.
    is_asked
        It is what was asked for.
    state
        Of an output ``unchanged`` since it was written, ``changed`` or ``gone``; of a raw file ``there`` or ``gone``;
        else ``unknown``.
    task, parameters
        What made it; None of a raw file.
    key
        Of its item.
    generation
        The one of its directory that is published.
    is_pinned
        Somebody has gone back to that generation.
    status
        Of its item.
    seconds
        What its item took.
    is_current
        Whether all files that its item was read from are as they were then; None of a raw file, and where that cannot
        be told.
    """

    path: str
    kind: str
    is_asked: bool = False
    state: str = "unknown"
    task: str | None = None
    parameters: dict[str, str] | None = None
    key: str | None = None
    generation: int | None = None
    is_pinned: bool = False
    status: str | None = None
    seconds: float | None = None
    is_current: bool | None = None


@dataclass(frozen=True)
class Edge:
    """That one file of a trace was made from another.

    Parameters
    ----------
    source, target
        Places of the two in the nodes of the trace.
    state
        What has become of the source since: ``unchanged``; ``changed``; ``gone``; ``earlier version``, where its own
        task has made it anew; ``unknown``.
    """

    source: int
    target: int
    state: str


@dataclass(frozen=True)
class Trace:
    """The files that something was made from, down to the raw ones, and those that were made of it.

    Parameters
    ----------
    path
        What was asked for, as an absolute path.
    within
        Absolute path of the folder below which was looked for what was made of it.
    nodes
        The files, each after those that it was made from.
    edges
        Which was made from which.
    warnings
        What could not be told, and why.
    back, forward
        Which way the trace goes.

    Examples
    --------
    >>> raw, array = Node("/data/raw/images/cat.png", "raw"), Node("/data/interim/ToNumpy/cat.npy", "output")
    >>> print(Trace("/data/raw/images/cat.png", "/data", (raw, array), (Edge(0, 1, "earlier version"),)))
    raw/images/cat.png          raw
    └─ interim/ToNumpy/cat.npy  of an unknown task; made from an earlier version
    Paths are below /data, where results were looked for.
    """

    path: str
    within: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    warnings: tuple[str, ...] = ()
    back: bool = True
    forward: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether the way forward has led nowhere, and there is no way back."""
        return self.forward and not self.edges

    def as_dict(self) -> dict[str, Any]:
        """All facts as plain values, for JSON."""
        return {
            "path": self.path,
            "within": self.within,
            "back": self.back,
            "forward": self.forward,
            "nodes": [asdict(node) for node in self.nodes],
            "edges": [asdict(edge) for edge in self.edges],
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        return "\n".join(drawn(self))


def in_order(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Numbers below ``count``, each after those from which an edge leads to it; those of a cycle last.

    Examples
    --------
    >>> in_order(3, [(2, 0), (0, 1)])
    [2, 0, 1]
    """
    targets: list[list[int]] = [[] for _ in range(count)]
    waits_for = [0] * count
    for source, target in edges:
        targets[source].append(target)
        waits_for[target] += 1
    ordered = [number for number in range(count) if not waits_for[number]]
    for number in ordered:  # grows as nodes are free
        for target in targets[number]:
            waits_for[target] -= 1
            if not waits_for[target]:
                ordered.append(target)
    return [*ordered, *(number for number in range(count) if waits_for[number])]
