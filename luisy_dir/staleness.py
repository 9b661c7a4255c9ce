"""Staleness: what makes every entry of a generation stale, and what has changed to make it so."""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from luisy_dir.code import Code
from luisy_dir.errors import DefinitionError
from luisy_dir.plan import Change, Reason
from luisy_dir.record import CodeUnit, Record

EARLIER_CODE = "earlier code"  # the part that names the fingerprints of other code that some entries were made with
_CODE = {"process", "read", "check", EARLIER_CODE}
_LONGEST_DIFF_LINES = 12
_LONGEST_TEXTS = 256 << 10  # characters, in one record


@dataclass(frozen=True)
class Ingredients:
    """What a task makes its results of beside the inputs, as it is now.

    Parameters
    ----------
    parts
        What makes a result stale, by name; see ``docs/reference/manifest.md``.
    code
        What the digests of functions stand for: each definition and constant that counts, by name.
    """

    parts: Mapping[str, Any]
    code: Mapping[str, CodeUnit]

    def with_earlier_code(self, record: Record) -> Ingredients:
        """The same where entries of a generation that other code has made go on to count."""
        earlier = set(record.parts.get(EARLIER_CODE, ()))
        if _code_of(self.parts) != _code_of(record.parts):
            earlier.add(record.fingerprint)
        return Ingredients({**self.parts, EARLIER_CODE: sorted(earlier)}, self.code) if earlier else self

    def reason_for(self, record: Record) -> Reason | None:
        """Why every entry of a generation is stale; None where nothing but inputs can make it so."""
        different = _different(self.parts, record.parts)
        if not different:
            return None
        if different <= {"targets"}:
            return Reason.CHANGED
        return Reason.PARAMS if different <= {"parameters", "seed", "selection", "control"} else Reason.CODE

    def differs_in_code_alone(self, record: Record) -> bool:
        """Whether all that the generation was made with but code is as it is now."""
        return not _different(without_code(self.parts), without_code(record.parts))

    def changes_since(self, record: Record) -> tuple[Change, ...]:
        """What has changed since a generation was made, so far as that is recorded."""
        now, then = self.parts, record.parts
        different = _different(now, then)
        changes = list(_changes_of_code(self.code, record)) if different & (_CODE | {"write"}) else []
        changes += (Change("code", name, "changed") for name in _unexplained(different, changes))
        for name in sorted(different - _CODE - {"write"}):
            changes += _changes_of_part(name, now.get(name), then.get(name))
        if then.get(EARLIER_CODE) and now.get(EARLIER_CODE) is None:
            changes.append(Change("code", "the code of some items", "an earlier one"))
        return tuple(changes)


def told_units(codes: Iterable[Code]) -> dict[str, CodeUnit]:
    """What the digests of functions stand for, for a record; of very much code, not every text."""
    units: dict[str, CodeUnit] = {}
    length = 0
    for name, unit in (pair for code in codes for pair in code.units.items()):
        length += len(unit.text)
        units[name] = CodeUnit(unit.digest, unit.text if length <= _LONGEST_TEXTS else "")
    return units


def versions_of(packages: Collection[str]) -> dict[str, str]:
    """Version of each installed package, by name; DefinitionError where one is not installed.

    Examples
    --------
    >>> versions_of(())
    {}
    """
    if isinstance(packages, str):
        raise DefinitionError(f"depends_on is {packages!r}, and should be a tuple of names: ({packages!r},).")
    return {package: _version_of(package) for package in packages}


@functools.cache
def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except (importlib.metadata.PackageNotFoundError, ValueError) as error:
        raise DefinitionError(
            f"depends_on names {package!r}, which is not installed. Give the name under which it is installed, as "
            "'pip list' shows it, such as 'scikit-image' rather than 'skimage'."
        ) from error


def without_code(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a result stale beside code; of formats, the suffix alone."""
    rest = {name: value for name, value in parts.items() if name not in _CODE}
    return rest | {"write": list(rest.get("write", ()))[:1]}


def _code_of(parts: Mapping[str, Any]) -> list[Any]:
    return [parts.get(name) for name in ("process", "read", "check", "write")]


def _different(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _changes_of_code(now: Mapping[str, CodeUnit], record: Record) -> Iterator[Change]:
    then = {} if record.code is msgspec.UNSET else record.code
    if not then:
        return
    for name in sorted(now.keys() | then.keys()):
        if name not in then or name not in now:
            yield Change("code", name, "added" if name in now else "removed")
        elif now[name].digest != then[name].digest:
            yield Change("code", name, "changed", _diff(then[name].text, now[name].text))


def _unexplained(different: set[str], changes: list[Change]) -> list[str]:
    """Parts made of code that are others, where no definition is known that would say why."""
    return [] if changes else sorted(different & (_CODE - {EARLIER_CODE} | {"write"}))


def _changes_of_part(name: str, now: Any, then: Any) -> Iterator[Change]:
    if isinstance(now, Mapping) or isinstance(then, Mapping):
        one, other = then or {}, now or {}
        for key in sorted(_different(one, other)):
            yield Change(name, key, _told(one.get(key), other.get(key), is_secret=name != "packages"))
    else:
        yield Change(name, "", _told(then, now, is_secret=name not in {"seed", "selection", "version"}))


def _told(then: Any, now: Any, *, is_secret: bool) -> str:
    if then is None or now is None:
        return "added" if then is None else "removed"
    return "changed" if is_secret else f"{then!r}, now {now!r}"


def _diff(then: str, now: str) -> str:
    """The lines that differ, with their neighbours; empty where one of the two is not known."""
    if not then or not now:
        return ""
    lines = list(difflib.unified_diff(then.splitlines(), now.splitlines(), n=1, lineterm=""))[3:]
    told = ["…" if line.startswith("@@") else line for line in lines]
    if len(told) > _LONGEST_DIFF_LINES:
        told = [*told[:_LONGEST_DIFF_LINES], f"… {len(told) - _LONGEST_DIFF_LINES} more lines"]
    return "\n".join(told)
