"""Disks of the stress tests: file systems in files, that can be full, fail, or lose their power."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time

from tallies import Skip

# From the headers of Linux; the three numbers are those of X in _IOR('X', 125, __u32).
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_TRIES = 100
_MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "vfat": ("mkfs.vfat",),
    "exfat": ("mkfs.exfat",),
}
_ADVICE = {
    "xfs": "apt-get install xfsprogs",
    "vfat": "apt-get install dosfstools",
    "exfat": "apt-get install exfatprogs",
}


def run(*command):
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


def needs(*programs):
    """Skip the part where a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise Skip(f"{program} is not installed")


class Disk:
    """A file system in a file, mounted through a loop device.

    Use it as a context manager.

    Parameters
    ----------
    kind
        Name of the file system.
    folder
        An empty folder; the mount point and the file are made in it.
    size_mb
        Of the file system.
    options
        For mount.
    make
        More words for mkfs.
    """

    def __init__(self, kind, folder, *, size_mb=64, options="", make=()):
        self.kind, self._options = kind, options
        self.path = os.path.join(folder, f"mounted-{kind}")
        self.image = os.path.join(folder, f"image-{kind}")
        command = (*_MKFS[kind], *make, self.image)
        if shutil.which(command[0]) is None:
            raise Skip(f"{command[0]} is not installed ({_ADVICE.get(kind, 'e2fsprogs')})")
        os.makedirs(self.path, exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(size_mb << 20)
        run(*command)

    def __enter__(self):
        self.mount()
        return self

    def __exit__(self, *_):
        unmount(self.path)
        os.unlink(self.image)

    def mount(self):
        """Mount it; what its journal says is done first."""
        words = ["mount", "-o", ",".join(filter(None, ("loop", self._options))), self.image, self.path]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skip(f"{self.kind} cannot be mounted through a loop device: {done.stderr.strip()}")

    def cut_power(self):
        """Let nothing more reach the disk, neither data nor journal, and start anew from what is there."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        except OSError as error:
            raise Skip(f"{self.kind} cannot be shut down: {error}") from error
        finally:
            os.close(descriptor)
        self.remount()

    def remount(self):
        """Mount it anew: what is read then comes from the disk."""
        unmount(self.path)
        self.mount()

    def mend(self):
        """Mount it anew after it has failed, as a machine does that starts: with its errors corrected."""
        unmount(self.path)
        if self.kind == "ext4":
            subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, check=False)
        self.mount()


class FuseDisk(Disk):
    """A file system in a file, mounted by a program."""

    def mount(self):
        """Mount it."""
        done = subprocess.run(["losetup", "-f", "--show", self.image], capture_output=True, text=True, check=False)
        self._device = done.stdout.strip()
        if not done.returncode:
            words = [f"mount.{self.kind}-fuse", self._device, self.path]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            self._detach()
            raise Skip(f"{self.kind} cannot be mounted by FUSE: {done.stderr.strip()}")

    def __exit__(self, *_):
        unmount(self.path)
        self._detach()
        os.unlink(self.image)

    def _detach(self):
        if self._device:
            subprocess.run(["losetup", "-d", self._device], capture_output=True, check=False)


@contextlib.contextmanager
def memory_disk(path, options="size=64m"):
    """A tmpfs."""
    needs("mount")
    os.makedirs(path, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Skip(f"tmpfs cannot be mounted: {done.stderr.strip()}")
    try:
        yield path
    finally:
        unmount(path)


def unmount(path):
    """Unmount, when nobody is at work there any more."""
    for _ in range(_TRIES):
        if subprocess.run(["umount", path], capture_output=True, check=False).returncode == 0 or not os.path.ismount(
            path
        ):
            return
        time.sleep(0.05)
    run("umount", "-l", path)


def drop_caches():
    """Forget what is in memory of every disk, so that what is read next is what lies on them."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")


def log_force(folder):
    """What anybody's fsync does to all others: the journal brings names of files to the disk, but not their data."""
    path = os.path.join(folder, "stranger")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, b"x")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
