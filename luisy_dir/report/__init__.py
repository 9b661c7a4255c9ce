"""The report: the manifest as a pandas frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from luisy_dir.entry import COLUMNS, Entry

if TYPE_CHECKING:
    import pandas as pd


def frame(entries: Iterable[Entry]) -> pd.DataFrame:
    """Entries as a frame: one row an item, in the order given, index ``key``.

    Parameters
    ----------
    entries
        Of a manifest or a staging.

    Returns
    -------
    pandas.DataFrame
        Columns ``status reason sources outputs source_bytes output_bytes attempts seconds started peak_memory
        error_type error``, then one for each name in ``item.meta``, in the order in which they first appear.
        ``sources`` and ``outputs`` are lists of relative paths, sizes are in bytes (-1: not known), ``started`` is in
        UTC. ``peak_memory`` is in bytes: what the worker process had resident at most while it had the item in hand.
        It and texts are nullable: what is not known, and what an item has no reason or error for, is ``pandas.NA``.

    Examples
    --------
    >>> list(frame([]).columns)[:3]
    ['status', 'reason', 'sources']
    """
    import pandas as pd

    kept = list(entries)
    rows = [_row(entry) for entry in kept]
    meta = dict.fromkeys(name for entry in kept for name in entry.meta)
    index = pd.Index([entry.key for entry in kept], name="key", dtype="str")
    report = pd.DataFrame(rows, columns=[*COLUMNS, *meta], index=index)
    for column, dtype in _DTYPES.items():
        report[column] = report[column].astype(dtype)
    return report


_DTYPES: dict[str, Any] = {
    "status": "string",
    "reason": "string",
    "source_bytes": "int64",
    "output_bytes": "int64",
    "attempts": "int64",
    "seconds": "float64",
    "started": "datetime64[us, UTC]",
    "peak_memory": "Int64",
    "error_type": "string",
    "error": "string",
}


def _row(entry: Entry) -> dict[str, Any]:
    failure = entry.error if entry.status == "failed" else None
    return {
        **entry.meta,
        "status": entry.status,
        "reason": _reason(entry),
        "sources": [source.path for source in entry.sources],
        "outputs": [output.path for output in entry.outputs],
        "source_bytes": _sum([source.size for source in entry.sources]),
        "output_bytes": sum(output.size for output in entry.outputs),
        "attempts": entry.attempts,
        "seconds": entry.seconds,
        "started": entry.started,
        "peak_memory": entry.peak_memory,
        "error_type": failure.type if failure else None,
        "error": failure.message if failure else None,
    }


def _sum(sizes: list[int]) -> int:
    return -1 if min(sizes, default=0) < 0 else sum(sizes)


def _reason(entry: Entry) -> str | None:
    if entry.error is None:
        return "the reader returned None" if entry.status == "skipped" else None
    return (
        entry.error.message if entry.status in {"rejected", "skipped"} else f"{entry.error.type}: {entry.error.message}"
    )
