"""``luisy-dir plan``: what a run of a task would do, and why."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.loading import loaded
from luisy_dir.cli.text import examples, lines_of, say, say_json
from luisy_dir.errors import DamagedManifestError, ManifestError, TooManyDeletedError
from luisy_dir.item import printable

if TYPE_CHECKING:
    from luisy_dir.manifest import Manifest
    from luisy_dir.plan import Plan
    from luisy_dir.record import Record


@dataclass(frozen=True)
class _Step:
    """What a run would do about one task."""

    task: str
    path: str | None
    is_published: bool | None
    is_to_do: bool
    message: str | None = None
    warning: str | None = None  # why a run would be refused
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

    A run processes the items that are new, changed, failed before or damaged, removes the outputs of deleted ones,
    and leaves the others as they are; where code or parameters are others, it processes all.

    Parameters and --luisy-dir-* settings are given as on the command line of luigi. MODULE is imported as by
    'python -m': from the current directory first.

    Prints the plan of each directory task that a run would come by, those that are required first: how many items are
    new, changed, unchanged and so on, with the first keys of each, and how long it will take, where that is a second
    or more. It warns of a run that would be refused, such as one that finds too many files gone. Of other tasks it
    says those that are not complete. The plan of a task compares with what the required tasks have published by now.
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
        is_over = _rests(task) if _is_directory(task) else task.complete()
        if not is_over:  # Luigi does not look beyond what is complete
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
    from luisy_dir.manifest import read_manifest

    path, damage, manifest = task.output().path, None, None
    try:
        manifest = read_manifest(path)
    except DamagedManifestError as error:
        damage = error
    step = _Step(_name(task), path, is_published=manifest is not None, is_to_do=True)
    newest = _record_in(path) if manifest is None else manifest.record
    if newest is not None and not _is_of(newest, task):
        message = f"{path!r} was published by {newest.task} with other parameters: a run would be refused"
        return replace(step, message=message)
    waits_for = next(filter(None, map(_why_unreadable, task.deps())), None)
    if waits_for is not None:
        return replace(step, is_to_do=not _rests(task), message=f"its items are not known, because {waits_for}")
    if damage is not None:
        return _step_of_damaged(step, task, damage, newest)
    planned = task.plan()
    if manifest is None:
        return replace(step, message="not published yet", plan=planned)
    is_to_do = _is_to_do(planned, manifest.record, task)
    return replace(step, is_to_do=is_to_do, warning=_why_refused(planned, manifest, task), plan=planned)


def _record_in(path: str) -> Record | None:
    """The newest record that can be read where the manifest is damaged: it says whose the directory is."""
    from luisy_dir.record import generations_in, read_record

    for generation in reversed(generations_in(path)):
        with contextlib.suppress(DamagedManifestError):
            return read_record(path, generation)
    return None


def _step_of_damaged(step: _Step, task: Any, damage: DamagedManifestError, newest: Record | None) -> _Step:
    if newest is None:
        told = f"{damage} But no record in it can be read, so that it is not known whose it is: remove it yourself."
        return replace(step, message="its manifest is damaged", warning=told)
    if _can_be_named_again(step.path, newest):
        message = f"what names its generation {newest.generation} is damaged: a run mends that first, and then plans"
        return replace(step, message=message)
    message = "its manifest is damaged: what no earlier generation vouches for would be made anew"
    return replace(step, message=message, plan=task.plan())


def _can_be_named_again(path: str | None, newest: Record) -> bool:
    """Whether all but CURRENT is whole of the newest generation: a run then writes that again."""
    from luisy_dir.manifest import Manifest
    from luisy_dir.record import generations_in

    assert path is not None  # noqa: S101 - of a directory task
    try:
        Manifest(path, newest).verify()
    except DamagedManifestError:
        return False
    return generations_in(path)[-1] == newest.generation


def _is_to_do(planned: Plan, record: Record, task: Any) -> bool:
    from luisy_dir import settings

    is_to_retry = bool(record.counts["failed"] and settings.resolve("retry_failed", task))
    return not _rests(task) and (planned.is_pinned or not planned.is_complete or is_to_retry)


def _rests(task: Any) -> bool:
    """Whether a directory task is complete, whatever has become of what it requires."""
    from luisy_dir import settings
    from luisy_dir.record import read_current

    record = None
    with contextlib.suppress(ManifestError):
        record = read_current(task.output().path)
    if record is None or not (record.pinned or settings.resolve("freshness", task) == "exists"):
        return False
    return bool(task.complete())


def _why_refused(planned: Plan, manifest: Manifest, task: Any) -> str | None:
    """Why a run would end with an error before it processes anything; None where it would not."""
    from luisy_dir import settings
    from luisy_dir.inputs import Inputs
    from luisy_dir.planning import check_deletions

    if planned.is_pinned:
        if planned.is_pending or _rests(task):
            return None
        return (
            f"Generation {manifest.record.generation} is pinned, and not all of its files are as they were written. "
            f"Release it: luisy-dir release {shlex.quote(manifest.directory)}"
        )
    inputs = Inputs(task, settings.resolve("seed", task))
    try:
        check_deletions(planned, inputs, manifest, settings.resolve("max_deleted", task))
    except TooManyDeletedError as error:
        return str(error)
    return None


def _is_of(record: Record, task: Any) -> bool:
    parameters = task.to_str_params(only_significant=True, only_public=True)
    return bool((record.task, record.parameters) == (task.get_task_family(), parameters))


def _why_unreadable(task: Any) -> str | None:
    """Why there is nothing to plan with, be it out of date; None where there is."""
    from luisy_dir.manifest import read_manifest

    if not _is_directory(task):
        return None if task.complete() else f"{_name(task)} is not complete"
    try:
        is_there = read_manifest(task.output().path) is not None
    except DamagedManifestError:
        return f"the manifest of {_name(task)} is damaged: run it first"
    return None if is_there else f"{_name(task)} is not published yet: run it first"


def _name(task: Any) -> str:
    """As Luigi shows a task, but without the values of private parameters."""
    values = task.to_str_params(only_significant=True, only_public=True)
    return f"{task.get_task_family()}({', '.join(f'{name}={value}' for name, value in values.items())})"


def _as_object(step: _Step) -> dict[str, Any]:
    plan = step.plan
    facts = {name: value for name, value in vars(step).items() if name != "plan"}
    return facts | {
        "is_pinned": None if plan is None else plan.is_pinned,
        "is_pending": None if plan is None else plan.is_pending,
        "estimated_seconds": None if plan is None else plan.estimated_seconds,
        "counts": None if plan is None else plan.counts,
        "finished": None if plan is None else len(plan.finished),
        "note": None if plan is None or not plan.note else plan.note,
        "rows": [] if plan is None else [{"key": row.key, "reason": row.reason.value} for row in plan.rows],
    }


def _show(step: _Step) -> None:
    say(printable(step.task) + (f": {printable(step.message)}" if step.message else ""))
    for line in lines_of(str(step.plan)) if step.plan is not None else ():
        say(f"  {line}")
    if step.warning is not None:
        say(f"  A run would be refused: {printable(step.warning)}")
