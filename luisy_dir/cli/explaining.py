"""``luisy-dir why`` and ``luisy-dir trace``: what a file was made from, why, and what was made of it."""

from __future__ import annotations

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.text import examples, lines_of, say, say_json
from luisy_dir.errors import UnknownPathError
from luisy_dir.lineage import trace as trace_lineage
from luisy_dir.lineage import why as explain


@click.command(
    short_help="Explain how and why a result became what it is.",
    epilog=examples(
        "luisy-dir why data/pipeline/interim/ToNumpy/cats/chelsea.npy",
        "luisy-dir why data/pipeline/interim/ToNumpy/cats/torn",
        "luisy-dir why data/pipeline/interim/ToNumpy/cats/chelsea.npy --json | jq -r '.sources[].file'",
    ),
)
@click.argument("path")
@click.option("--deep", is_flag=True, help="Compare files by their content even where size and time of change agree.")
@click.option("--json", "as_json", is_flag=True, help="Print an object instead.")
@click.pass_context
def why(ctx: click.Context, path: str, *, deep: bool, as_json: bool) -> None:
    """Explain how and why PATH became what it is.

    PATH is a file in a published directory, or the key of an item below that directory: so that items can be asked for
    that failed, were rejected or skipped. No task is imported; all is read from the manifest.

    Prints the item and what became of it, its task, in which generation it is published, in which one it was made and
    why, as far as the generations tell that are kept; the files that it was read from and whether they still are as
    they were; the digests of the code, what the step noted, and the outputs. Of a file that lies in no published
    directory it says that it is an input.

    The exit code is 1 where nothing is known of PATH.
    """
    try:
        found = explain(path, deep=deep)
    except UnknownPathError as error:
        _say_unknown(ctx, error)
        return
    if as_json:
        say_json(found.as_dict())
    else:
        say(str(found))


@click.command(
    short_help="Show what a file was made from, and what was made of it.",
    epilog=examples(
        "luisy-dir trace data/pipeline/raw/images/cats/chelsea.png",
        "luisy-dir trace data/pipeline/final/RedChannel/cats/chelsea.npy --back",
        "luisy-dir trace shared/cats/chelsea.png --within data",
        "luisy-dir trace data/pipeline/raw/images/cats/chelsea.png --json | jq -r '.nodes[].path'",
    ),
)
@click.argument("path")
@click.option("--within", metavar="FOLDER", help="Look below this folder for what was made of it.")
@click.option("--back", is_flag=True, help="Show what it was made from, alone.")
@click.option("--forward", is_flag=True, help="Show what was made of it, alone.")
@click.option("--json", "as_json", is_flag=True, help="Print an object with nodes and edges instead.")
@click.pass_context
def trace(ctx: click.Context, path: str, *, within: str | None, back: bool, forward: bool, as_json: bool) -> None:
    """Show what PATH was made from, down to the raw files, and all that was made of it.

    PATH is a raw file, be it gone by now, a file in a published directory, or the key of an item below that directory.
    No task is imported; all is read from manifests.

    What was made of it is looked for below FOLDER. Where none is given, that is the current directory if it holds PATH,
    or the folder of the project, which is the nearest one above PATH that holds 'interim' or 'final', whichever is
    wider; else the folder that the published directory, or the folder of the raw file, lies in.

    Prints a tree: what was made from a file stands below it, with its task, the generation that is published, and how
    long its item took. Notes say what is no longer as it was, such as "made from an earlier version", where a file has
    been made anew since. A file that several ways lead to is shown in full once. Manifests that cannot be read are
    named at the end.

    The exit code is 1 where nothing is known of PATH.
    """
    if back and forward:
        raise click.UsageError("--back and --forward exclude each other. Leave both out to go both ways.")
    try:
        found = trace_lineage(path, within, back=not forward, forward=not back)
    except UnknownPathError as error:
        _say_unknown(ctx, error)
        return
    if as_json:
        say_json(found.as_dict())
    else:
        say(str(found))
    if found.is_empty:
        ctx.exit(BAD_NEWS)


def _say_unknown(ctx: click.Context, error: UnknownPathError) -> None:
    for line in lines_of(str(error)):
        click.echo(line, err=True)
    ctx.exit(BAD_NEWS)
