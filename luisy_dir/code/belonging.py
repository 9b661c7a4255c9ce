"""Belonging: what is the project's own, and what is installed and counts by its name."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_DEMO = f"{_PACKAGE}.demo"
_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")
_INSTALLED = tuple({os.path.join(sysconfig.get_path(name), "") for name in _PATHS})
_FOLDERS = {"site-packages", "dist-packages"}
_MAIN = {"__main__", "__mp_main__"}


class Project:
    """What is looked into: all that is not installed, and the package of the definition that is asked about.

    A package of the user's may be installed like any other. It is told from a library by what it uses: this package.

    Parameters
    ----------
    home
        Name of the module that the definition belongs to.

    Examples
    --------
    >>> Project("pipeline").has_module("pipeline.helpers"), Project("pipeline").has_module("json.decoder")
    (True, False)
    """

    def __init__(self, home: str = "") -> None:
        self.home = spelled(home)
        self._top = self.home.partition(".")[0]
        self._known: dict[str, bool] = {}
        self._is_pipeline = not _is_installed(home) or _uses_this_package(self._top, len(sys.modules))

    def has(self, value: Any) -> bool:
        """Whether a function, class or module is the project's own."""
        if isinstance(value, types.FunctionType):
            # a decorated function bears the name of another one
            return self.has_module(value.__globals__.get("__name__") or "", value.__globals__.get("__file__"))
        name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        return self.has_module(name if isinstance(name, str) else "")

    def has_module(self, name: str, file: str | None = None) -> bool:
        """Whether a module is the project's own, be it imported or not."""
        if name not in self._known:
            self._known[name] = self._has_module(name, file)
        return self._known[name]

    def _has_module(self, name: str, file: str | None) -> bool:
        spelling = spelled(name)
        top = spelling.partition(".")[0]
        if top == _PACKAGE:
            return is_below(self.home, _DEMO) and is_below(spelling, _DEMO)
        return (top == self._top and self._is_pipeline) or not _is_installed(name, file)


def is_below(module: str, package: str) -> bool:
    """Whether a module is this one or lies in it."""
    return module == package or module.startswith(f"{package}.")


def spelled(module: str) -> str:
    """A module's name; that of the program is the one that it would be imported under."""
    if module not in _MAIN:
        return module
    main = sys.modules.get(module)
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in _MAIN:
        return str(spec.name).removesuffix(".__main__")
    return os.path.splitext(os.path.basename(getattr(main, "__file__", None) or module))[0]


def name_of(value: Any) -> str:
    """Module and name of a definition, or of the class of anything else."""
    code = getattr(value, "__code__", None)
    if isinstance(code, types.CodeType):
        return f"{spelled(value.__globals__.get('__name__') or '')}.{code.co_qualname}".lstrip(".")
    name = getattr(value, "__qualname__", getattr(value, "__name__", type(value).__qualname__))
    module = getattr(value, "__module__", None)
    return f"{spelled(module)}.{name}" if isinstance(module, str) else str(name)


def is_a(value: object, module: str, name: str) -> bool:
    """Whether an object is of a class that need not be imported to ask."""
    return any((cls.__module__, cls.__name__) == (module, name) for cls in type(value).__mro__)


def is_named_in_a_library(value: object, name: str) -> bool:
    """Whether a module that is installed has just this object under this name."""
    return any(
        vars(module).get(name) is value and _is_installed(module.__name__)
        for module in list(sys.modules.values())
        if isinstance(module, types.ModuleType)
    )


def _is_installed(module: str, file: str | None = None) -> bool:
    file = file or _file_of(module)
    if file is None:
        return module.partition(".")[0] in {*sys.builtin_module_names, *sys.stdlib_module_names}
    return file.startswith(_INSTALLED) or not _FOLDERS.isdisjoint(file.split(os.sep))


def is_anywhere(module: str) -> bool:
    """Whether a module's top package is imported or could be; imports nothing."""
    top = module.partition(".")[0]
    return top in sys.modules or _spec_of(top) is not None


def _file_of(module: str) -> str | None:
    """File or folder of a module; of one that is not imported, of its top package."""
    imported = sys.modules.get(module)
    file = getattr(imported, "__file__", None)
    if file is not None:
        return str(file)
    spec: ModuleSpec | None = getattr(imported, "__spec__", None) if imported else _spec_of(module.partition(".")[0])
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())  # of a package without __init__
    return str(folders[0]) if folders else spec.origin if spec.has_location else None


def _spec_of(top: str) -> ModuleSpec | None:
    try:
        return find_spec(top) if top else None
    except (ImportError, ValueError):
        return None


@functools.lru_cache(maxsize=64)
def _uses_this_package(top: str, loaded: int) -> bool:  # noqa: ARG001 - asked again when more modules are loaded
    """Whether a module of a package has something of this one."""
    kinds = {types.ModuleType: "__name__", types.FunctionType: "__module__", type: "__module__"}
    for name, module in list(sys.modules.items()):
        if is_below(name, top) and isinstance(module, types.ModuleType):
            for value in list(vars(module).values()):
                attribute = kinds.get(type(value)) or ("__module__" if isinstance(value, type) else None)
                if attribute is not None and is_below(str(getattr(value, attribute)), _PACKAGE):
                    return True
    return False
