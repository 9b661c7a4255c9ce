"""A home: what a worker on another machine must know of the program whose work it does."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from dataclasses import dataclass, field

import luisy_dir

_VARIABLES = ("LUISY_DIR_", "LUIGI_CONFIG_PARSER")  # begin the names of what settings are made of
_INSTALLED = ("site-packages", "dist-packages")


def _is_own(path: str) -> bool:
    is_installed = any(f"{os.sep}{name}" in path for name in _INSTALLED)
    return not is_installed and not path.startswith((sys.base_prefix + os.sep, sys.prefix + os.sep))


def _script() -> str:
    file = getattr(sys.modules["__main__"], "__file__", None) or ""
    return file if os.path.isfile(file) else ""


def _variables() -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(_VARIABLES)))


@dataclass(frozen=True)
class Home:
    """What a worker on another machine must know of the program whose work it does.

    Parameters
    ----------
    pid
        The number of its process, on its own machine.
    folder
        Where it was started.
    paths
        Folders of its own modules; what is installed is the worker's own.
    variables
        Of its environment, those that settings are made of.
    script
        The file that it was started from; empty where there is none.
    """

    pid: int = field(default_factory=os.getpid)
    folder: str = field(default_factory=os.getcwd)
    paths: tuple[str, ...] = field(default_factory=lambda: tuple(filter(_is_own, map(os.path.abspath, sys.path))))
    variables: tuple[tuple[str, str], ...] = field(default_factory=_variables)
    script: str = field(default_factory=_script)


_home: Home | None = None
_name = ""


def move_in(home: Home, name: str) -> None:
    """Let this process work for that program from now on, as far as this machine has what it needs.

    Parameters
    ----------
    home
        What is known of the program.
    name
        What this process is called: no other one of any machine is.
    """
    global _home, _name  # noqa: PLW0603 - a process works for one program
    _name = name
    if home == _home:
        return
    _home = home
    with contextlib.suppress(OSError):
        os.chdir(home.folder)
    sys.path += [path for path in home.paths if path not in sys.path and os.path.exists(path)]
    for variable, _ in _variables():
        del os.environ[variable]
    os.environ.update(home.variables)


def mine() -> Home | None:
    """The home of this process; None where it does not work for a program on another machine."""
    return _home


def script() -> str:
    """The file that the program was started from whose work this process does; empty where there is none."""
    return _script() if _home is None else _home.script


def my_name() -> str:
    """What this process is called; on one machine by its number, which is enough there."""
    return _name or f"{socket.gethostname()}-{os.getpid()}"


def versions() -> dict[str, str]:
    """What must be the same where work is sent from and where it is done."""
    python = ".".join(map(str, sys.version_info[:2]))
    return {"Python": python, "luisy_dir": luisy_dir.__version__}
