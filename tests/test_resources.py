"""Resources: what affinity, control groups and the machine leave, on trees of files as systems have them.

The tree of ``BOTH`` was recorded on a virtual machine with both versions of control groups, but for its figures of
memory; the others hold what the systems that they are named after write, cut down to what is read.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luisy_dir import resources
from luisy_dir.resources import usable_cpus, usable_memory

MB = 1 << 20
GB = 1 << 30
WITHOUT_LIMIT = "9223372036854771712\n"  # what version 1 says
MACHINE = {"proc/meminfo": "MemTotal:       67108864 kB\nMemFree:         1048576 kB\nMemAvailable:   33554432 kB\n"}
MACHINE_BYTES = 32 * GB

BOTH = MACHINE | {  # version 1 for all controllers, version 2 beside it without any
    "proc/self/cgroup": (
        "9:name=systemd:/\n8:pids:/\n7:blkio:/\n6:freezer:/\n5:devices:/\n4:memory:/process_api/f275443b\n"
        "3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n0::/\n"
    ),
    "proc/self/mountinfo": (
        "23 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
        "33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
        "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    ),
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": WITHOUT_LIMIT,
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "1090519040\n",
    "sys/fs/cgroup/memory/process_api/f275443b/memory.limit_in_bytes": WITHOUT_LIMIT,
    "sys/fs/cgroup/memory/process_api/f275443b/memory.usage_in_bytes": "612368384\n",
    "sys/fs/cgroup/memory/process_api/f275443b/memory.stat": (
        "cache 433000448\nrss 12890112\ninactive_file 300000000\nactive_file 100000000\n"
        f"hierarchical_memory_limit {WITHOUT_LIMIT}total_inactive_file 300000000\ntotal_active_file 100000000\n"
    ),
}
DOCKER_V1 = MACHINE | {  # docker run --cpus 2.5 --memory 1g; the container sees its own group alone
    "proc/self/cgroup": "7:memory:/docker/3f9c\n4:cpu,cpuacct:/docker/3f9c\n1:name=systemd:/docker/3f9c\n0::/\n",
    "proc/self/mountinfo": (
        "1037 1036 0:29 /docker/3f9c /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:12 - cgroup cgroup rw,cpu,cpuacct\n"
        "1038 1036 0:32 /docker/3f9c /sys/fs/cgroup/memory ro,nosuid master:15 - cgroup cgroup rw,memory\n"
    ),
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{600 * MB}\n",
    "sys/fs/cgroup/memory/memory.stat": (
        f"inactive_file {50 * MB}\nactive_file 0\nhierarchical_memory_limit {GB}\n"
        f"total_inactive_file {300 * MB}\ntotal_active_file {100 * MB}\n"
    ),
}
DOCKER_V2 = MACHINE | {  # docker run --cpus 1.5 --memory 1g, in a namespace of its own
    "proc/self/cgroup": "0::/\n",
    "proc/self/mountinfo": "601 600 0:29 / /sys/fs/cgroup ro,nosuid,nodev - cgroup2 cgroup rw,nsdelegate\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/memory.max": f"{GB}\n",
    "sys/fs/cgroup/memory.high": "max\n",
    "sys/fs/cgroup/memory.current": f"{700 * MB}\n",
    "sys/fs/cgroup/memory.stat": (
        f"anon {100 * MB}\nfile {500 * MB}\ninactive_file {200 * MB}\nactive_file {300 * MB}\n"
        f"slab_reclaimable {50 * MB}\nslab_unreclaimable {10 * MB}\n"
    ),
}
POD = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7.slice"
KUBERNETES = MACHINE | {  # a node's agent that sees the whole tree: the pod has less than its container asks for
    "proc/self/cgroup": f"0::/{POD}/cri-containerd-a1.scope\n",
    "proc/self/mountinfo": "33 24 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,memory_recursiveprot\n",
    f"sys/fs/cgroup/{POD}/cri-containerd-a1.scope/cpu.max": "800000 100000\n",
    f"sys/fs/cgroup/{POD}/cri-containerd-a1.scope/memory.max": f"{4 * GB}\n",
    f"sys/fs/cgroup/{POD}/cri-containerd-a1.scope/memory.current": f"{GB}\n",
    f"sys/fs/cgroup/{POD}/cpu.max": "300000 100000\n",
    f"sys/fs/cgroup/{POD}/memory.max": f"{5 * GB}\n",
    f"sys/fs/cgroup/{POD}/memory.current": f"{3 * GB}\n",  # another container of the pod has two of them
    f"sys/fs/cgroup/{POD}/memory.stat": f"anon {3 * GB}\ninactive_file 0\n",
    "sys/fs/cgroup/kubepods.slice/cpu.max": "max 100000\n",
    "sys/fs/cgroup/kubepods.slice/memory.max": f"{60 * GB}\n",
    "sys/fs/cgroup/kubepods.slice/memory.current": f"{20 * GB}\n",
}
SLICE = MACHINE | {  # a login session: CPUQuota=400% and MemoryHigh=8G on the slice of the user
    "proc/self/cgroup": "0::/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.scope\n",
    "proc/self/mountinfo": "35 24 0:30 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    "sys/fs/cgroup/user.slice/user-1000.slice/cpu.max": "400000 100000\n",
    "sys/fs/cgroup/user.slice/user-1000.slice/memory.max": "max\n",
    "sys/fs/cgroup/user.slice/user-1000.slice/memory.high": f"{8 * GB}\n",
    "sys/fs/cgroup/user.slice/user-1000.slice/memory.current": f"{2 * GB}\n",
    "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.scope/memory.max": "max\n",
}
HYBRID = MACHINE | {  # memory belongs to version 1, CPUs to version 2
    "proc/self/cgroup": "5:memory:/batch/job7\n0::/batch/job7\n",
    "proc/self/mountinfo": (
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    ),
    "sys/fs/cgroup/unified/batch/job7/cpu.max": "600000 100000\n",
    "sys/fs/cgroup/memory/batch/job7/memory.limit_in_bytes": f"{6 * GB}\n",
    "sys/fs/cgroup/memory/batch/job7/memory.usage_in_bytes": f"{GB}\n",
    "sys/fs/cgroup/memory/batch/memory.limit_in_bytes": f"{10 * GB}\n",
    "sys/fs/cgroup/memory/batch/memory.usage_in_bytes": f"{7 * GB}\n",
}
HIDDEN_PARENT_V1 = DOCKER_V1 | {  # version 1 tells the limit of a group above that the container cannot see
    "sys/fs/cgroup/memory/memory.limit_in_bytes": WITHOUT_LIMIT,
    "sys/fs/cgroup/memory/memory.stat": f"hierarchical_memory_limit {800 * MB}\ntotal_inactive_file 0\n",
}
CPUS = 64  # of the affinity, in all tests on trees

TREES = {
    "both versions": (BOTH, CPUS, MACHINE_BYTES),
    "docker, version 1": (DOCKER_V1, 2, GB - 200 * MB),
    "docker, version 2": (DOCKER_V2, 1, GB - 150 * MB),
    "kubernetes": (KUBERNETES, 3, 2 * GB),
    "slice": (SLICE, 4, 6 * GB),
    "hybrid": (HYBRID, 6, 3 * GB),
    "a limit of a group out of sight": (HIDDEN_PARENT_V1, 2, 200 * MB),
    "no control groups": (MACHINE, CPUS, MACHINE_BYTES),
}


@pytest.fixture
def many_cpus(monkeypatch):
    """An affinity of 64 CPUs."""
    monkeypatch.setattr(resources, "_affinity", lambda: CPUS)


def plant(folder, tree):
    """Write the files of a tree; the folder comes back as the root."""
    for name, text in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(errors="surrogateescape"))
    return str(folder)


# -- on trees of files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tree", "cpus", "memory_bytes"), TREES.values(), ids=TREES)
def test_the_least_of_all_that_limits_counts(many_cpus, tmp_path, tree, cpus, memory_bytes):
    root = plant(tmp_path, tree)
    assert (usable_cpus(root=root), usable_memory(root=root)) == (cpus, memory_bytes)


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("199999 100000", 1),
        ("200000 100000", 2),
        ("max 100000", CPUS),
        ("300000", CPUS),
        ("30000 10000", 3),
        ("900000000 100000", CPUS),
        ("", CPUS),
        ("\n", CPUS),
        ("100000 0", CPUS),
        ("-1 100000", CPUS),
        ("two 100000", CPUS),
        ("9" * 5000 + " 1", CPUS),
        ("\0\x01", CPUS),
        ("²00000 100000", CPUS),
    ],
)
def test_a_quota_is_whole_cpus_at_least_one_and_garbage_is_none(many_cpus, tmp_path, quota, cpus):
    assert usable_cpus(root=plant(tmp_path, DOCKER_V2 | {"sys/fs/cgroup/cpu.max": quota})) == cpus


def test_what_uses_more_than_its_limit_has_nothing_left(tmp_path):
    """memory.high may be overrun."""
    files = {"sys/fs/cgroup/memory.high": f"{100 * MB}\n", "sys/fs/cgroup/memory.stat": ""}
    assert usable_memory(root=plant(tmp_path, DOCKER_V2 | files)) == 0


def test_what_can_be_reclaimed_is_never_more_than_what_is_used(tmp_path):
    """The two are read one after the other, and may not fit."""
    files = {"sys/fs/cgroup/memory.stat": f"inactive_file {9 * GB}\n"}
    assert usable_memory(root=plant(tmp_path, DOCKER_V2 | files)) == GB


def test_a_process_that_sees_a_group_above_its_namespace_is_not_mixed_up_with_a_group_inside(many_cpus, tmp_path):
    """``/../job`` is out of sight, and neither ``/job`` nor a folder beside the groups."""
    files = {"proc/self/cgroup": "0::/../job\n"}
    files |= {f"sys/fs/{folder}/cpu.max": "100000 100000\n" for folder in ("cgroup/job", "job")}
    assert usable_cpus(root=plant(tmp_path, SLICE | files)) == CPUS


def test_a_group_of_a_like_name_is_another_group(many_cpus, tmp_path):
    files = {"proc/self/cgroup": "4:cpu,cpuacct:/docker/3f9c0/job\n"}
    files["sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us"] = "100000\n"
    files["sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us"] = "100000\n"
    assert usable_cpus(root=plant(tmp_path, DOCKER_V1 | files)) == 2


def test_the_groups_above_one_that_was_removed_count(many_cpus, tmp_path):
    files = {"proc/self/cgroup": "0::/user.slice/user-1000.slice/gone.scope (deleted)\n"}
    assert usable_cpus(root=plant(tmp_path, SLICE | files)) == 4


@pytest.mark.parametrize("name", ["a b", "ü", "a:b", "a\x1cb", "a\\b", "\udcff", "..."])
def test_a_group_may_have_any_name(many_cpus, tmp_path, name):
    files = {"proc/self/cgroup": f"0::/{name}/x\n", f"sys/fs/cgroup/{name}/x/cpu.max": "300000 100000\n"}
    assert usable_cpus(root=plant(tmp_path, SLICE | files)) == 3


def test_the_folder_of_the_groups_may_have_any_name(many_cpus, tmp_path):
    """The kernel writes a blank there as ``\\040``."""
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "35 24 0:30 / /mnt/my\\040groups\\134 rw - cgroup2 cgroup2 rw\n",
        "mnt/my groups\\/cpu.max": "500000 100000\n",
    }
    assert usable_cpus(root=plant(tmp_path, files)) == 5


def test_without_proc_there_are_all_cpus_and_all_memory_of_the_machine(many_cpus, tmp_path):
    """As on macOS."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert (usable_cpus(root=str(tmp_path)), usable_memory(root=str(tmp_path))) == (CPUS, total)


def test_where_nothing_is_known_of_memory_nothing_limits_it(monkeypatch, tmp_path):
    def refuse(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", refuse)
    assert usable_memory(root=str(tmp_path)) == sys.maxsize


@pytest.mark.parametrize("name", [*DOCKER_V1, *DOCKER_V2])
def test_a_folder_in_the_place_of_any_file_is_as_if_it_said_nothing(many_cpus, tmp_path, name):
    tree = DOCKER_V1 if name in DOCKER_V1 else DOCKER_V2
    root = plant(tmp_path, {other: text for other, text in tree.items() if other != name})
    os.makedirs(os.path.join(root, name))
    assert 1 <= usable_cpus(root=root) <= CPUS
    assert usable_memory(root=root) >= 0


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_lines = st.sampled_from(
    [line for tree, *_ in TREES.values() for text in tree.values() for line in text.splitlines()]
    + ["0::", ":", "::::", " - cgroup2 ", "1 2 3 4 5 6 - cgroup2", "1 2 3 \\777 \\000 6 - cgroup c cpu,memory", "- -"]
)


@given(
    st.lists(st.tuples(st.sampled_from([*DOCKER_V1, *DOCKER_V2]), st.lists(_texts | _lines, max_size=4)), max_size=6)
)
def test_whatever_stands_in_the_files_there_is_an_answer(tmp_path_factory, files):
    tree = DOCKER_V2 | {name: "\n".join(lines) for name, lines in files}
    root = plant(tmp_path_factory.mktemp("tree"), tree)
    assert usable_cpus(root=root) >= 1
    assert usable_memory(root=root) >= 0


# -- on this machine --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_usable_cpus_are_those_of_the_affinity():
    """Not those of the machine, of which a batch system gives each job a few."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python heeds the variable from 3.13 on")
def test_python_cpu_count_lowers_the_number():
    assert said_inside("usable_cpus", environ={"PYTHON_CPU_COUNT": "1"}) == 1


class Group:
    """A control group of this machine, of either version, and another one inside it. A context manager.

    Parameters
    ----------
    controller
        ``cpu`` or ``memory``.
    limits
        What is written into which file of the outer group; files that are not there are passed over.
    """

    def __init__(self, controller, limits):
        top = f"/sys/fs/cgroup/{controller}" if os.path.isdir(f"/sys/fs/cgroup/{controller}") else "/sys/fs/cgroup"
        self._limits = limits
        self._outer = os.path.join(top, f"luisy_dir-test-{uuid.uuid4().hex}")
        self.inner = os.path.join(self._outer, "inner")

    def __enter__(self):
        try:
            os.makedirs(self.inner)
            known = {name: text for name, text in self._limits.items() if os.path.exists(f"{self._outer}/{name}")}
            for name, text in known.items():
                with open(os.path.join(self._outer, name), "w") as file:
                    file.write(text)
        except OSError as error:
            self.__exit__()
            pytest.skip(f"no control group can be made here: {error}")
        if not known:
            self.__exit__()
            pytest.skip("the control groups of this machine have none of these limits")
        return self

    def __exit__(self, *_):
        for path in (self.inner, self._outer):
            for _ in range(100):  # the processes inside are gone a moment after they have ended
                with contextlib.suppress(FileNotFoundError):
                    try:
                        os.rmdir(path)
                    except OSError:
                        time.sleep(0.02)
                        continue
                break


def said_inside(name, group=None, environ=None):
    """What a function of ``resources`` says in a process of its own, in a group."""
    enter = "" if group is None else f"open({group.inner!r} + '/cgroup.procs', 'w').write(str(os.getpid()));"
    code = f"import os; {enter} from luisy_dir.resources import {name}; print({name}())"
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", code]
    done = subprocess.run(command, env=os.environ | (environ or {}), capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(usable_cpus() < 2, reason="one CPU is one CPU")
def test_a_quota_of_a_group_above_counts_in_a_real_group():
    limits = {"cpu.max": "150000 100000", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"}
    with Group("cpu", limits) as group:
        assert said_inside("usable_cpus", group) == 1


def test_a_limit_of_memory_counts_in_a_real_group():
    limits = {"memory.max": str(300 * MB), "memory.limit_in_bytes": str(300 * MB)}
    with Group("memory", limits) as group:
        assert 150 * MB < said_inside("usable_memory", group) < 300 * MB
