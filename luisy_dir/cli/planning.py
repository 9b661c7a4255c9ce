"""``luisy-dir plan``: what a run of a task would do, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.loading import loaded
from luisy_dir.cli.text import examples, lines_of, printable, say, say_json

if TYPE_CHECKING:
    from luisy_dir.manifest import Record
    from luisy_dir.plan import Plan


@dataclass(frozen=True)
class _Step:
    """What a run would do about one task."""

    task: str
    path: str | None
    is_published: bool | None
    is_to_do: bool
    message: str | None = None
    plan: Plan | None = None


@click.command(
    short_help="Show what a run of a task would do, and why.",
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "luisy-dir plan pipeline ToNumpy",
        "luisy-dir plan pipeline Resize --size 224 --luisy-dir-working-dir data",
        "luisy-dir plan pipeline ToNumpy --json | jq -r '.[].rows[] | select(.reason == \"new\") | .key'",
        'luisy-dir plan pipeline ToNumpy --exit-code > /dev/null || echo "something is to do"',
        "luisy-dir plan pipeline ToNumpy -- --json a-parameter-of-that-name",
    ),
)
@click.argument("module")
@click.argument("task")
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED)
@click.option("--no-upstream", is_flag=True, help="Plan the task alone, without the tasks that it requires.")
@click.option("--exit-code", "tells_by_exit_code", is_flag=True, help="Exit with 1 where something is to do.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead, one for each task.")
@click.pass_context
def plan(
    ctx: click.Context,
    module: str,
    task: str,
    parameters: tuple[str, ...],
    *,
    no_upstream: bool,
    tells_by_exit_code: bool,
    as_json: bool,
) -> None:
    """Show what a run of TASK, which stands in MODULE, would do, and why; nothing is run, and nothing written.

    Parameters and --luisy-dir-* settings are given as on the command line of luigi. MODULE is imported as by
    'python -m': from the current directory first.

    Prints the plan of each directory task that a run would come by, those that are required first: how many items are
    new, changed, unchanged and so on, with the first keys of each. Of other tasks it says those that are not
    complete. The plan of a task compares with what the required tasks have published by now.
    """
    with loaded(module, task, parameters) as root:
        steps = _steps([root] if no_upstream else _upstream_first(root))
        is_to_do = any(step.is_to_do for step in steps) or not root.complete()
        steps = steps or [_Step(_name(root), None, None, is_to_do=False, message="complete, nothing to do")]
    if as_json:
        say_json([_as_object(step) for step in steps])
    else:
        for step in steps:
            _show(step)
    if tells_by_exit_code and is_to_do:
        ctx.exit(BAD_NEWS)


def _upstream_first(root: Any) -> Iterator[Any]:
    """The task and all that a run of it would come by, each once."""
    seen = set()

    def visit(task: Any) -> Iterator[Any]:
        if task in seen:
            return
        seen.add(task)
        if _is_directory(task) or not task.complete():  # Luigi does not look beyond what is complete
            for required in task.deps():
                yield from visit(required)
        yield task

    return visit(root)


def _is_directory(task: Any) -> bool:
    from luisy_dir import DirectoryTask

    return isinstance(task, DirectoryTask)


def _steps(tasks: Iterable[Any]) -> list[_Step]:
    """What a run would do about each of the tasks; those that are complete and no directory are left out."""
    steps: dict[Any, _Step] = {}
    for task in tasks:
        if not _is_directory(task):
            if not task.complete():
                steps[task] = _step_of_other(task)
            continue
        step = _step_of_directory(task)
        required = (steps[each] for each in task.deps() if each in steps)
        first = next((each for each in required if each.is_to_do), None)
        if step.plan is not None and first is not None:
            note = f"{first.task} is to run first, and what it will change is not counted here"
            step = replace(step, message=f"{step.message}; {note}" if step.message else note)
        steps[task] = step
    return list(steps.values())


def _step_of_other(task: Any) -> _Step:
    path = getattr(task.output(), "path", None)
    message = "not complete: it would run"
    if task.run is None:
        message = f"missing or empty, and no task makes it: put its files into {path!r}" if path else "missing"
    return _Step(_name(task), path, None, is_to_do=True, message=message)


def _step_of_directory(task: Any) -> _Step:
    from luisy_dir import settings
    from luisy_dir.manifest import read_manifest

    path, manifest = task.output().path, read_manifest(task.output().path)
    is_published = manifest is not None
    if manifest is not None and not _is_of(manifest.record, task):
        message = f"{path!r} was published by {manifest.record.task} with other parameters: a run would be refused"
        return _Step(_name(task), path, is_published, is_to_do=True, message=message)
    waits_for = next((required for required in task.deps() if not _has_output(required)), None)
    if waits_for is not None:
        what = "is not published yet: run it first" if _is_directory(waits_for) else "is not complete"
        message = f"its items are not known, because {_name(waits_for)} {what}"
        return _Step(_name(task), path, is_published, is_to_do=True, message=message)
    planned = task.plan()
    is_to_do = not is_published or (settings.resolve("freshness", task) != "exists" and not planned.is_complete)
    return _Step(_name(task), path, is_published, is_to_do, None if is_published else "not published yet", planned)


def _is_of(record: Record, task: Any) -> bool:
    parameters = task.to_str_params(only_significant=True, only_public=True)
    return bool((record.task, record.parameters) == (task.get_task_family(), parameters))


def _has_output(task: Any) -> bool:
    """Whether there is anything to plan with, be it out of date."""
    from luisy_dir.manifest import read_manifest

    return read_manifest(task.output().path) is not None if _is_directory(task) else task.complete()


def _name(task: Any) -> str:
    """As Luigi shows a task, but without the values of private parameters."""
    values = task.to_str_params(only_significant=True, only_public=True)
    return f"{task.get_task_family()}({', '.join(f'{name}={value}' for name, value in values.items())})"


def _as_object(step: _Step) -> dict[str, Any]:
    counts = None if step.plan is None else step.plan.counts
    rows = [] if step.plan is None else [{"key": row.key, "reason": row.reason.value} for row in step.plan.rows]
    facts = {name: value for name, value in vars(step).items() if name != "plan"}
    return facts | {"counts": counts, "rows": rows}


def _show(step: _Step) -> None:
    say(printable(step.task) + (f": {printable(step.message)}" if step.message else ""))
    for line in lines_of(str(step.plan)) if step.plan is not None else ():
        say(f"  {line}")
