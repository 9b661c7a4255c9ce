"""The command ``luisy-dir``: what was published, how to go back to it, and what a run would do."""

from __future__ import annotations

import importlib
import os
import sys

import click

import luisy_dir
from luisy_dir.cli.exits import EXIT_CODES, Commands

_TABLE_OF_EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {what}" for code, what in EXIT_CODES.items())


# In the order of --help. What a command needs is loaded when it is called: each of them is used alone.
_WHERE = {
    "ls": "listing:ls",
    "report": "reporting:report",
    "errors": "failures:errors",
    "verify": "verifying:verify",
    "recheck": "rechecking:recheck",
    "plan": "planning:plan",
    "replay": "replaying:replay",
    "why": "explaining:why",
    "trace": "explaining:trace",
    "versions": "versioning:versions",
    "diff": "comparing:diff",
    "rollback": "returning:rollback",
    "release": "returning:release",
    "gc": "collecting:gc",
    "probe": "probing:probe_command",
    "demo": "demonstrating:demo",
}


class _LoadedWhenCalled(Commands):
    """A group whose commands are imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """Their names."""
        return list(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """One of them."""
        if cmd_name not in _WHERE:
            return None
        module, _, name = _WHERE[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"luisy_dir.cli.{module}"), name)
        return command


@click.group(
    cls=_LoadedWhenCalled,
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


def main() -> None:
    """Run the command of this process's arguments, and exit."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process
        getattr(sys, name).reconfigure(errors="backslashreplace")  # a terminal may know ASCII alone
    commands(prog_name="luisy-dir")
