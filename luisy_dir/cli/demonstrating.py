"""``luisy-dir demo``: a pipeline over images, to try it with."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.places import look_at
from luisy_dir.cli.reporting import show_report
from luisy_dir.cli.text import examples, say
from luisy_dir.demo import PIPELINE, RAW, RESULT, set_up
from luisy_dir.demo.images import COUNT
from luisy_dir.item import printable
from luisy_dir.manifest import Manifest

_FOLDER = "luisy_dir_demo"
_FIRST_ROWS = 5


@click.command(
    short_help="Fill a folder with images and a pipeline, and run it.",
    epilog=examples(
        "luisy-dir demo",
        "luisy-dir demo /tmp/demo --images 24",
    ),
)
@click.argument("folder", default=_FOLDER)
@click.option("--images", default=COUNT, show_default=True, type=click.IntRange(min=1), help="How many to make.")
@click.pass_context
def demo(ctx: click.Context, folder: str, *, images: int) -> None:
    """Fill FOLDER (luisy_dir_demo where it is not given) with images and a pipeline, and run it with Luigi.

    Photographs are cut into PNG files, which two tasks turn into arrays and into their red channel. Images and pipeline
    that are there already are left as they are: add, edit or remove images, change the pipeline, and run the demo
    again, which brings the results up to date.

    Prints the command that is run, what Luigi says, where results, manifest and report lie, and what to try next. The
    exit code is 1 where Luigi fails.
    """
    say(f"Images, pipeline and Luigi's configuration: {printable(folder)}")
    set_up(folder, images)
    if _run_luigi(folder) != 0:
        say("\nLuigi failed, and says above why. Mend that, and run the demo again, which brings all up to date.")
        say(f"To begin anew, remove {printable(folder)}.")
        ctx.exit(BAD_NEWS)
    _show(folder)


def _run_luigi(folder: str) -> int:
    """Run Luigi as a user would, and return its exit code."""
    luigi = _luigi()
    arguments = ["--module", "red_channel", "RedChannel", "--local-scheduler", "--luisy-dir-working-dir", "."]
    more = os.environ.get("PYTHONPATH")
    shown = shlex.join([*luigi, *arguments])
    say(f"$ cd {printable(shlex.quote(folder))} && PYTHONPATH=.{':$PYTHONPATH' if more else ''} {shown}\n")
    sys.stdout.flush()
    environment = os.environ | {"PYTHONPATH": f".{os.pathsep}{more}" if more else "."}
    return subprocess.run([*luigi, *arguments], cwd=folder, env=environment, check=False).returncode  # noqa: S603


def _luigi() -> list[str]:
    """Luigi's command as this environment has it: by its name alone where the shell finds it."""
    script = os.path.join(sysconfig.get_path("scripts"), "luigi")
    on_path = shutil.which("luigi")
    if on_path is not None and (on_path == script or not os.path.exists(script)):
        return ["luigi"]
    return [script] if os.path.exists(script) else [sys.executable, "-m", "luigi"]


def _show(folder: str) -> None:
    result = os.path.join(folder, *RESULT.split("/"))
    place = look_at(result, published=True)  # a run that failed may have left its entries beside it
    assert place.manifest is not None  # noqa: S101 - Luigi has looked
    first = next((output.path for entry in place.entries for output in entry.outputs), "<key>.npy")
    code = f"import numpy; print(numpy.load({json.dumps(os.path.join(result, first))}).shape)"
    path, inside = printable(shlex.quote(result)), printable(shlex.quote(folder))
    say(f"""
Results    {printable(result)}/<key>.npy, one array for each image
Manifest   {_manifest_in(result, place.manifest)}
Report     the manifest as a table; RedChannel().report() is the same as a pandas frame:

$ luisy-dir report {path} --limit {_FIRST_ROWS}""")
    show_report(place, place.entries, _FIRST_ROWS)
    say(f"""
Try next:

  luisy-dir ls {inside}
  luisy-dir verify {path} --deep
  python -c {printable(shlex.quote(code))}
  (cd {inside} && luisy-dir plan red_channel RedChannel)

Add, edit or remove a PNG file in {printable(os.path.join(folder, *RAW.split("/")))}, or change what process does in
{printable(os.path.join(folder, PIPELINE))}, and look at the plan again: it says what is stale, and why. Run the demo
again, which processes that alone, and see with 'luisy-dir diff PATH' what has changed.""")


def _manifest_in(result: str, manifest: Manifest) -> str:
    first, *later = (os.path.join(result, os.path.relpath(path, manifest.directory)) for path in manifest.paths)
    told = f"{printable(first)}, one JSON object a line"
    names = ", ".join(printable(os.path.basename(path)) for path in later)
    return f"{told}; newer lines in {names}" if names else told
