"""Resources: how many CPUs and how much memory this process and its workers may use.

The kernel's own files under ``/proc`` and ``/sys/fs/cgroup`` are read, and whatever cannot be read or understood there
sets no limit: nothing here raises. A control group (cgroup) may be one of version 1, of version 2, or of both; the
groups above it count as well, as far as they can be seen.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator

_ESCAPED = re.compile(r"\\([0-7]{3})")
_KIBIBYTE = 1024
_LONGEST_NUMBER = 20  # digits of 2**64
_WORDS_BEFORE = 6  # of a line of mountinfo, before its optional fields


def usable_cpus(*, root: str = "/") -> int:
    """Number of CPUs that this process may use, at least 1.

    It is the least of two: the CPUs of its affinity (from Python 3.13 on what :func:`os.process_cpu_count` says, which
    heeds ``PYTHON_CPU_COUNT``), and the quota of its control group and of each group above. A quota is rounded down:
    of 1.5 CPUs one is for a worker, and the rest for the process that the workers report to.

    Parameters
    ----------
    root
        Folder in which ``proc`` and ``sys`` lie.

    Examples
    --------
    >>> usable_cpus() >= 1
    True
    """
    quotas = (_cpu_quota(group) for group in _groups("cpu", root))
    return max(1, min([_affinity(), *(quota for quota in quotas if quota is not None)]))


def usable_memory(*, root: str = "/") -> int:
    """Bytes of memory that this process and its workers together can still take.

    It is the least of what the machine has available (all its memory where it does not say), and of what the control
    group and each group above have left: their limit without what they use. What the kernel gives back when it must,
    above all the page cache, counts as not used, as it does in the machine's own ``MemAvailable``. Swap does not count.
    Neither does ``ulimit -v``, which limits each process by itself, and addresses rather than memory.

    Parameters
    ----------
    root
        Folder in which ``proc`` and ``sys`` lie.

    Examples
    --------
    >>> usable_memory() > 0
    True
    """
    left = (_memory_left(group) for group in _groups("memory", root))
    return max(0, min([_available_memory(root), *(size for size in left if size is not None)]))


def _affinity() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_quota(group: str) -> int | None:
    """Whole CPUs of a group's quota; None without one."""
    words = _read(group, "cpu.max").split()[:2]
    if not words:
        words = [_read(group, "cpu.cfs_quota_us"), _read(group, "cpu.cfs_period_us")]
    quota, period = [*map(_number, words), None, None][:2]
    return quota // period if quota and period else None


def _available_memory(root: str) -> int:
    """Bytes that the machine has available."""
    available = _numbers(_read(root, "proc/meminfo")).get("MemAvailable:")
    if available is not None:
        return available * _KIBIBYTE
    with contextlib.suppress(OSError, ValueError):  # macOS has no /proc
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return sys.maxsize


def _memory_left(group: str) -> int | None:
    """Bytes of a group's limit that are not used, or that the kernel would give back; None without a limit."""
    facts = _numbers(_read(group, "memory.stat"))
    limits = [_number(_read(group, f"memory.{name}")) for name in ("max", "high", "limit_in_bytes")]
    limits.append(facts.get("hierarchical_memory_limit"))  # version 1 tells the limit of groups that cannot be seen
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    used = _number(_read(group, "memory.current")) or _number(_read(group, "memory.usage_in_bytes")) or 0
    is_version_1 = "total_inactive_file" in facts  # where the names without total_ leave out the groups below
    names = [f"total_{name}" if is_version_1 else name for name in ("inactive_file", "active_file")]
    reclaimable = sum(facts.get(name, 0) for name in (*names, "slab_reclaimable"))
    return min(known) - max(0, used - reclaimable)


def _groups(controller: str, root: str) -> Iterator[str]:
    """Folders of the groups of this process that may limit what a controller controls, and of the groups above."""
    paths = _memberships(root)
    for top, point, controllers in _mounts(root):
        if controllers and controller not in controllers:
            continue
        folder = os.path.join(root, point.lstrip("/"))
        yield folder
        for name in _steps(top, paths.get(controller if controllers else "", "/")):
            folder = os.path.join(folder, name)
            yield folder


def _steps(top: str, path: str) -> list[str]:
    """Names on the way from one group down to another; none where it does not lead there, or out of sight."""
    above, names = top.strip("/").split("/"), path.strip("/").split("/")
    above = above if above[0] else []
    is_below = names[: len(above)] == above and ".." not in names
    return [name for name in names[len(above) :] if name] if is_below else []


def _memberships(root: str) -> dict[str, str]:
    """The group of this process, by controller in version 1, by an empty name in version 2."""
    lines = (line.split(":", 2) for line in _read(root, "proc/self/cgroup").split("\n"))
    return {name: line[2] for line in lines if len(line) > 2 for name in line[1].split(",")}  # noqa: PLR2004


def _mounts(root: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Where hierarchies of groups are mounted: the group on top of what is seen, the folder, the options of version 1.

    See proc_pid_mountinfo(5) for the format.
    """
    for line in _read(root, "proc/self/mountinfo").split("\n"):
        before, _, after = line.partition(" - ")
        words, kind = before.split(" "), after.split(" ")
        if kind[0] in {"cgroup", "cgroup2"} and len(words) >= _WORDS_BEFORE:
            top, point = (_ESCAPED.sub(lambda match: chr(int(match[1], 8)), word) for word in words[3:5])
            yield top, point, frozenset(kind[-1].split(",") if kind[0] == "cgroup" else ())


def _numbers(text: str) -> dict[str, int]:
    """First two words of each line, where the second is a number."""
    words = (line.split() for line in text.splitlines())
    pairs = ((word[0], _number(word[1])) for word in words if len(word) > 1)
    return {name: number for name, number in pairs if number is not None}


def _number(text: str) -> int | None:
    """A number from 0; None for ``max``, ``-1`` and what is no number."""
    digits = text.strip()
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_NUMBER
    return int(digits) if is_number else None


def _read(*path: str) -> str:
    """Text of a file; nothing where it cannot be read."""
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (OSError, ValueError):  # a ValueError for a NUL in the path
        return ""
