"""``luisy-dir recheck``: a sample of published items, computed again and compared."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.loading import loaded
from luisy_dir.cli.text import examples, say, say_json
from luisy_dir.errors import SettingError
from luisy_dir.item import printable
from luisy_dir.recheck import FINDINGS, fraction_of

if TYPE_CHECKING:
    from luisy_dir.recheck import Recheck, RecheckRow

_WIDTH = max(map(len, FINDINGS))


def _fraction(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return fraction_of(value)
    except SettingError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command(
    short_help="Compute a sample of published items again, and compare.",
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "luisy-dir recheck pipeline ToNumpy",
        "luisy-dir recheck pipeline ToNumpy --sample 100% --luisy-dir-engine serial",
        "luisy-dir recheck pipeline Resize --size 224 --sample 5% --luisy-dir-working-dir data",
        "luisy-dir recheck pipeline ToNumpy --json | jq -r '.rows[] | select(.finding == \"drifted\") | .key'",
    ),
)
@click.argument("module")
@click.argument("task")
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--sample",
    callback=_fraction,
    default="1%",
    metavar="SHARE",
    show_default=True,
    help="How many of the written items.",
)
@click.option("--json", "as_json", is_flag=True, help="Print an object instead.")
@click.pass_context
def recheck(
    ctx: click.Context, module: str, task: str, parameters: tuple[str, ...], *, sample: float, as_json: bool
) -> None:
    """Compute a sample of what TASK, which stands in MODULE, has published again, and compare.

    Nothing of what is published is touched, nor its manifest. Outputs go to a hidden folder of the working directory,
    .scratch/recheck; those that differ stay there until the next recheck of the task, so that they can be looked at.
    It runs on the task's engine; it neither waits for a run of the task nor keeps one waiting.

    A sample is a share of the items that were written, at least one of them: '1%', '0.01', '100%'. It is always the
    same, and part of each larger one.

    An item that differs from what is recorded, by the bytes of an output, by which outputs there are or by its meta, is
    computed a second time. Where the two differ too, it is "not deterministic"; else it has "drifted", as after
    another version of a library. One that is no longer written is "failed", "rejected" or "skipped"; of "inputs
    changed" the files are not as they were read then, so that it was left out.

    Parameters and --luisy-dir-* settings are given as on the command line of luigi. MODULE is imported as by
    'python -m': from the current directory first.

    Prints each item that differs or was left out, why, and where the files to compare lie; and a last line with the
    numbers. The exit code is 1 where anything differs, or nothing could be compared.
    """
    with loaded(module, task, parameters) as root, _answers_alone():
        if not hasattr(root, "recheck"):
            raise click.UsageError(f"{task} is no directory task, and has no items to compute again.")
        found = root.recheck(sample)
    if as_json:
        say_json(_as_object(found))
    else:
        _show(found)
    if not found.is_reproduced:
        ctx.exit(BAD_NEWS)


@contextlib.contextmanager
def _answers_alone() -> Iterator[None]:
    """Let what processes of our own print go to the standard error: it is not our answer."""
    if sys.__stdout__ is None or sys.__stderr__ is None:  # closed by whoever started us
        yield
        return
    stdout = sys.__stdout__.fileno()
    kept = os.dup(stdout)
    os.dup2(sys.__stderr__.fileno(), stdout)
    try:
        yield
    finally:
        os.dup2(kept, stdout)
        os.close(kept)


def _as_object(found: Recheck) -> dict[str, Any]:
    return {
        **{name: value for name, value in asdict(found).items() if name != "rows"},
        "sampled": found.sampled,
        "counts": found.counts,
        "is_reproduced": found.is_reproduced,
        "rows": [asdict(row) for row in found.rows],
    }


def _show(found: Recheck) -> None:
    for row in found.rows:
        _show_row(row)
    for line in (*found.notes, found.summary):
        say(printable(line))


def _show_row(row: RecheckRow) -> None:
    say(f"{row.finding:<{_WIDTH}}  {printable(row.key)}  {printable(row.reason)}")
    for name, paths in (("published", row.published), ("recomputed", row.recomputed)):
        for path in paths:
            say(f"{'':<{_WIDTH}}    {name:<10}  {printable(path)}")
