"""Build a folder of images, run three layers over it with Luigi, and say where the results lie.

Usage: python demo.py FOLDER
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig

from make_images import make_images

import luisy_dir as luisy

HERE = os.path.dirname(os.path.abspath(__file__))


def main(folder: str) -> int:
    """Run the demo in ``folder``; return Luigi's exit code."""
    images = os.path.join(folder, "red_channel", "raw", "images")
    if not os.path.isdir(images):
        print(f"Cutting {make_images(images)} images into {images} …")
    luigi = os.path.join(sysconfig.get_path("scripts"), "luigi")
    command = [luigi, "--module", "red_channel", "RedChannel", "--local-scheduler"]
    command += ["--luisy-dir-working-dir", folder]
    environment = os.environ | {"PYTHONPATH": HERE, "LUIGI_CONFIG_PATH": os.path.join(HERE, "..", "luigi.cfg")}
    print("$ PYTHONPATH=examples", " ".join([os.path.basename(luigi), *command[1:]]), flush=True)
    code = subprocess.run(command, env=environment, check=False).returncode
    if code == 0:
        show(folder)
    return code


def show(folder: str) -> None:
    """Print where results, manifest and report lie, and how to look at them."""
    luisy.set_working_dir(folder)
    from red_channel import RedChannel

    task = RedChannel()
    directory = os.path.relpath(task.output().path)
    manifest = task.output().manifest()
    report = task.report()
    print(f"""
Results    {directory}/<key>.npy ({manifest.record.counts["written"]} arrays)
Manifest   {os.path.relpath(manifest.path)} (one JSON object a line) and {manifest.record.name}.json beside it
Report     RedChannel().report() is a pandas frame, one row an item; its first rows:
""")
    columns = ["status", "source_bytes", "output_bytes", "seconds", "brightness"]
    print(report[columns].head(5).to_string())
    first = os.path.join(directory, report["outputs"].iloc[0][0])
    print(f"""
Look at one:

  {os.path.relpath(sys.executable)} -c "import numpy; image = numpy.load('{first}'); print(image.shape, image.mean())"
  head -n 1 {os.path.relpath(manifest.path)} | python3 -m json.tool

Run `make demo` again: nothing is left to do. Add a PNG to {os.path.join(folder, "red_channel", "raw", "images")},
and `make demo` says what is stale.""")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "demo"))
