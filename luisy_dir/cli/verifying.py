"""``luisy-dir verify``: a published directory beside its manifest."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.text import examples, printable, say, say_json
from luisy_dir.verification import verify as compare


@click.command(
    short_help="Compare a published directory with its manifest.",
    epilog=examples(
        "luisy-dir verify data/pipeline/interim/ToNumpy",
        "luisy-dir verify data/pipeline/interim/ToNumpy --deep",
        "luisy-dir verify data/pipeline/interim/ToNumpy --json | jq -r '.missing[]'",
    ),
)
@click.argument("path")
@click.option("--deep", is_flag=True, help="Read every output, and compare what is in it.")
@click.option("--json", "as_json", is_flag=True, help="Print an object instead.")
@click.pass_context
def verify(ctx: click.Context, path: str, *, deep: bool, as_json: bool) -> None:
    """Compare the published directory PATH with its manifest; nothing is changed.

    An output is "missing"; or "changed", where its size differs, or its time of change and its content; a file that
    the manifest does not know is "foreign". Hidden files are passed over. The manifest is compared with its own
    digests, and is an error where it does not equal them.

    Prints a line for each file that differs, and a last line with the numbers. The exit code is 1 where anything
    differs.
    """
    directory = os.path.abspath(path)
    verification = compare(directory, deep=deep)
    if as_json:
        facts = {"directory": directory, "deep": deep, "is_whole": verification.is_whole}
        say_json(facts | asdict(verification))
    else:
        for difference, paths in verification.differences.items():
            for name in paths:
                say(f"{difference}  {printable(name)}")
        say(verification.summary)
    if not verification.is_whole:
        ctx.exit(BAD_NEWS)
