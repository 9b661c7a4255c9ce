"""``luisy-dir probe``: what a file system can do."""

from __future__ import annotations

import os

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.text import examples, say, say_json
from luisy_dir.errors import MissingInputError, StorageError
from luisy_dir.item import printable
from luisy_dir.storage.probe import Capabilities, probe

# What each one is, and what is done where it is missing.
_MEANINGS = {
    "rename_noreplace": ("rename that replaces nothing", "the place is looked at, and then a plain rename does it"),
    "link": ("second names of files", "records are published by rename, and files that are kept are renamed or copied"),
    "syncfs": ("sync of a whole file system", "every file is synced alone, which takes longer"),
    "lock": ("locks", "a second run does not wait, but takes over; the first one ends then"),
    "tells_case_apart": ("A and a are two names", "outputs whose names differ in case alone are refused"),
    "tells_spellings_apart": ("NFC and NFD are two names", "outputs whose names differ in spelling alone are refused"),
}


@click.command(
    name="probe",
    short_help="Find out what the file system of a folder can do.",
    epilog=examples(
        "luisy-dir probe data",
        "luisy-dir probe /mnt/share --json | jq .link",
    ),
)
@click.argument("path", default=".")
@click.option("--json", "as_json", is_flag=True, help="Print an object instead.")
@click.pass_context
def probe_command(ctx: click.Context, path: str, *, as_json: bool) -> None:
    """Find out what the file system of the folder PATH can do, by trying it in a hidden folder that is removed.

    Every run does the same before it begins. Prints a line for each capability: whether it is there, and what is done
    where it is not. The exit code is 1 where nothing would keep two runs apart, so that runs are refused.
    """
    folder = os.path.abspath(path)
    if not os.path.isdir(folder):
        raise MissingInputError(f"There is no folder {folder!r}. Is the path right, and is the disk mounted?")
    try:
        capabilities = probe(folder)
    except OSError as error:
        raise StorageError(
            error.errno, f"Nothing can be written into {folder!r}: {error.strerror}. Mend that, or try another folder."
        ) from error
    if as_json:
        say_json({"folder": folder, "keeps_runs_apart": capabilities.keeps_runs_apart} | vars(capabilities))
    else:
        _show(folder, capabilities)
    if not capabilities.keeps_runs_apart:
        ctx.exit(BAD_NEWS)


def _show(folder: str, capabilities: Capabilities) -> None:
    width = max(len(what) for what, _ in _MEANINGS.values())
    for name, (what, instead) in _MEANINGS.items():
        say(f"{what:<{width}}  " + (f"no: {instead}" if name in capabilities.missing else "yes"))
    if not capabilities.keeps_runs_apart:
        say(f"Nothing would keep two runs apart in {printable(repr(folder))}: runs are refused there.")
