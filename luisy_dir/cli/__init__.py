"""The command ``luisy-dir``: what was published, how to go back to it, and what a run would do."""

from __future__ import annotations

import os
import sys

import click

import luisy_dir
from luisy_dir.cli.collecting import gc
from luisy_dir.cli.comparing import diff
from luisy_dir.cli.demonstrating import demo
from luisy_dir.cli.exits import EXIT_CODES, Commands
from luisy_dir.cli.explaining import trace, why
from luisy_dir.cli.failures import errors
from luisy_dir.cli.listing import ls
from luisy_dir.cli.planning import plan
from luisy_dir.cli.probing import probe_command
from luisy_dir.cli.rechecking import recheck
from luisy_dir.cli.replaying import replay
from luisy_dir.cli.reporting import report
from luisy_dir.cli.returning import release, rollback
from luisy_dir.cli.verifying import verify
from luisy_dir.cli.versioning import versions

_TABLE_OF_EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {what}" for code, what in EXIT_CODES.items())


@click.group(
    cls=Commands,
    epilog=f"{_TABLE_OF_EXIT_CODES}\n\n'luisy-dir COMMAND --help' shows what a command prints, and examples.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(luisy_dir.__version__, prog_name="luisy-dir")
def commands() -> None:
    """Look at directories that luisy_dir has published, at what a run would do, and go back to earlier generations.

    Nothing here runs a task, but for demo, which fills a folder of its own; replay processes one item, recheck some of
    them again, and both write into .scratch. What is published is changed by rollback, release and verify --repair
    alone, and gc removes what nobody needs any more; all else only looks.
    """


for _command in (
    ls, report, errors, verify, recheck, plan, replay, why, trace, versions, diff, rollback, release, gc,
    probe_command, demo,
):  # fmt: skip
    commands.add_command(_command)


def main() -> None:
    """Run the command of this process's arguments, and exit."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process
        getattr(sys, name).reconfigure(errors="backslashreplace")  # a terminal may know ASCII alone
    commands(prog_name="luisy-dir")
