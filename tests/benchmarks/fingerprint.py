"""Measure what it costs to find out which code a task reaches.

Usage: python fingerprint.py [--rounds 5] [--helpers 50]

A pipeline of three modules of some 500 lines is written. Its task calls one helper, which calls the next one, and so on
through all modules. In a fresh process each round, which has imported the pipeline and luisy_dir, these are timed:

- the first question: files are parsed, names are followed;
- the same question again, which Luigi asks about ten times for each task;
- the question after a constant was bound anew, as in a notebook.

Printed are medians, and of the first question also the processor time, since other programs may share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

MODULES = ("loading", "filtering", "measuring")
LINES = 500

HELPER = '''
def {name}(image, size=3, *, mode="reflect"):
    """Do a part of the work.

    Parameters
    ----------
    image
        An array.
    """
    total = image * size + LIMIT
    for number in range(size):
        if number % 2 and mode in MODES:
            total += np.sqrt(number) + sum(value for value in OFFSETS[mode])
        else:
            total -= number  # a comment
    return {then}
'''

HEADER = """import numpy as np

import pipeline.{neighbour}

LIMIT = {number}
MODES = {{"reflect", "wrap"}}
OFFSETS = {{"reflect": [1, 2, 3], "wrap": [0.5]}}
"""

ASK = """
import json, sys, time
import pipeline.loading
from luisy_dir.code import code_of

def asked():
    began, used = time.perf_counter(), time.process_time()
    code = code_of(pipeline.loading.helper_0)
    return time.perf_counter() - began, time.process_time() - used, len(code.units)

first, used, units = asked()
again = asked()[0]
pipeline.measuring.LIMIT = 1000
changed = asked()[0]
print(json.dumps({"first": first, "first, processor time": used, "again": again, "changed": changed, "units": units}))
"""


def write_pipeline(folder, count):
    """Write the three modules; what is called lies spread over all of them, amid what is not."""
    package = os.path.join(folder, "pipeline")
    os.mkdir(package)
    for number, module in enumerate(("__init__", *MODULES)):
        neighbour = MODULES[number % len(MODULES)]
        text = HEADER.format(neighbour=neighbour, number=number) if number else ""
        for helper in range(number - 1, count, len(MODULES)) if number else ():
            then = f"pipeline.{neighbour}.helper_{helper + 1}(total)" if helper + 1 < count else "total"
            text += HELPER.format(name=f"helper_{helper}", then=then)
        while number and text.count("\n") < LINES:
            text += HELPER.format(name=f"other_{text.count('def')}", then="total")
        with open(os.path.join(package, f"{module}.py"), "w") as file:
            file.write(text)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--helpers", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_pipeline(folder, options.helpers)
        path = os.pathsep.join((folder, *filter(None, sys.path)))
        rounds = [
            json.loads(subprocess.check_output([sys.executable, "-c", ASK], env=os.environ | {"PYTHONPATH": path}))
            for _ in range(options.rounds)
        ]
    assert rounds[0]["units"] >= options.helpers
    for name in ("first", "first, processor time", "again", "changed"):
        print(f"{name:<24}{statistics.median(times[name] for times in rounds) * 1e3:8.2f} ms")


if __name__ == "__main__":
    main()
