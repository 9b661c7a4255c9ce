"""Text for people and for programs: nothing in it can drive a terminal."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from luisy_dir.item import printable
from luisy_dir.terminal import start_of, width_of

_WIDTH_WITHOUT_TERMINAL = 120
_LEAST_COLUMN = 8
_WIDEST_COLUMN = 60
_GAP = "  "


def say(line: str = "") -> None:
    """Put a line on the standard output; :mod:`luisy_dir.cli.exits` flushes at the end."""
    sys.stdout.write(f"{line}\n")


def lines_of(text: str) -> list[str]:
    """The lines of a text, each made printable."""
    return [printable(line) for line in text.rstrip("\n").split("\n")]


def number_of_bytes(size: int) -> str:
    """A size as people read it.

    Examples
    --------
    >>> number_of_bytes(999), number_of_bytes(4_650_000)
    ('999 B', '4.7 MB')
    """
    if size < 1000:  # noqa: PLR2004 - a thousand
        return f"{size} B"
    units = ("kB", "MB", "GB", "TB", "PB")
    power = next((power for power in range(1, len(units)) if size < 999.95 * 1000**power), len(units))
    return f"{size / 1000**power:.1f} {units[power - 1]}"


def moment_in_utc(moment: datetime) -> str:
    """A moment as people read it, in UTC.

    Examples
    --------
    >>> moment_in_utc(datetime(2024, 5, 1, 12, 0, 3, 500_000, tzinfo=UTC))
    '2024-05-01 12:00:03'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def examples(*commands: str) -> str:
    """The examples of a command, for its help."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def say_json(value: Any) -> None:
    """Put a value on the standard output as JSON; of a list each element on a line of its own."""
    if not isinstance(value, list):
        say(_as_json(value))
        return
    say("[")
    for number, element in enumerate(value, 1):
        say(_as_json(element) + ("," if number < len(value) else ""))
    say("]")


def _as_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def say_csv(columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> None:
    """Put records on the standard output as CSV: nothing for None, JSON for lists and the like.

    On a terminal the text is made printable, elsewhere it is as it is.
    """
    clean = printable if sys.stdout.isatty() else str
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([clean(column) for column in columns])
    for record in records:
        writer.writerow([clean(_as_cell(record[column])) for column in columns])


def _as_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _as_json(value)


def terminal_width() -> int:
    """Columns of the terminal, or a plain number where there is none; the variable COLUMNS is stronger."""
    return shutil.get_terminal_size((_WIDTH_WITHOUT_TERMINAL, 0)).columns


def table(header: Sequence[str], rows: Sequence[Sequence[object]], width: int | None = None) -> tuple[list[str], int]:
    r"""Rows under their header as lines, numbers to the right.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        One value for each column; None is left empty.
    width
        Room for a line: cells are cut short with an ellipsis, of the first column the end is kept, and the last
        columns are left out where there is no room for them at all. None has all the room it needs.

    Returns
    -------
    tuple of list of str and int
        The lines, and how many columns they show.

    Examples
    --------
    >>> lines, columns = table(["key", "n", "why"], [["cats/chelsea", 1, None], ["b", 20, "it is torn"]], width=22)
    >>> print(*lines, sep="\n")
    key        n  why
    …chelsea   1
    b         20  it is t…
    """
    are_numbers = list(map(_are_numbers, zip(*rows, strict=True))) or [False] * len(header)
    cells = [[printable(name) for name in header], *([_shown(value) for value in row] for row in rows)]
    widths = [max(map(width_of, column)) for column in zip(*cells, strict=True)]
    if width is not None:
        widths = _fit(widths, width)
    lines = []
    for row in cells:
        parts = [
            _padded(_cut(cell, room, keep_end=place == 0), room, to_the_right=are_numbers[place])
            for place, (cell, room) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append(_GAP.join(parts).rstrip())
    return lines, len(widths)


def _are_numbers(column: Iterable[object]) -> bool:
    return all(value is None or isinstance(value, (int, float)) for value in column)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _fit(widths: list[int], room: int) -> list[int]:
    """Take from the widest columns until all fit, then leave out the last ones."""
    widths = [min(width, _WIDEST_COLUMN) for width in widths]
    while _total(widths) > room and max(widths) > _LEAST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    while _total(widths) > room and len(widths) > 1:
        widths.pop()
    return widths


def _total(widths: list[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _cut(cell: str, room: int, *, keep_end: bool) -> str:
    if width_of(cell) <= room:
        return cell
    if keep_end:
        return "…" + start_of(cell[::-1], room - 1)[::-1]
    return start_of(cell, room - 1) + "…"


def _padded(cell: str, room: int, *, to_the_right: bool) -> str:
    space = " " * (room - width_of(cell))
    return space + cell if to_the_right else cell + space
