"""Children of the stress tests: forked processes that call one function, and strace at work on them."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

_LONGEST_SECONDS = 60.0
_KNOCK, _HEARD = b"?", "/__HEARD__"
_BEGIN, _END = "/__BEGIN__", "/__END__"  # that nobody has: a chdir that fails marks a place in what strace writes
_CALL = re.compile(r"(\w+)\((.*)")


@dataclass(frozen=True)
class Outcome:
    """What became of a child.

    Parameters
    ----------
    value
        What its function returned.
    error, message
        Name and text of the exception that it raised.
    signal
        What ended it from outside.
    """

    value: object = None
    error: str | None = None
    message: str = ""
    signal: int | None = None

    @property
    def is_good(self):
        """Whether the function returned."""
        return self.error is None and self.signal is None

    def __str__(self):
        if self.signal is not None:
            return f"ended by {signal.Signals(self.signal).name}"
        return f"{self.error}: {self.message}" if self.error else f"returned {self.value!r}"


class Child:
    """A child that is forked from this process, and calls one function.

    A fork costs a hundredth of what a new interpreter does. It is as good as one, because this process has all modules
    loaded but never runs a task itself.

    Parameters
    ----------
    function
        Is called with the rest.
    is_held
        The child waits for :meth:`go` before it begins, and marks where it begins and ends for strace.
    environ
        Is added to the environment.
    """

    def __init__(self, function, *arguments, is_held=False, environ=None, **options):
        self._results, results = os.pipe()
        gate, self._gate = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.environ.update(environ or {})
            _be_the_child(gate if is_held else None, results, lambda: function(*arguments, **options))
        os.close(gate)
        os.close(results)
        self._status = None

    def wait_until_held(self):
        """Wait until a child that is held does nothing but wait, so that whoever looks at it sees all that it does."""
        os.read(self._results, 1)

    def knock(self):
        """Let a child that is held make a mark, so that whoever looks at it can tell whether he sees it."""
        os.write(self._gate, _KNOCK)

    def go(self):
        """Let a child begin that is held."""
        os.write(self._gate, b"!")

    def has_ended(self):
        """Whether there is nothing to wait for."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def kill(self, number=signal.SIGKILL):
        """Send it a signal."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def wait(self, seconds=_LONGEST_SECONDS):
        """Wait for its end, and say what became of it; one that takes too long is ended, and that is its outcome."""
        deadline, pause = time.monotonic() + seconds, 0.0005
        while not self.has_ended():
            if time.monotonic() > deadline:
                self.kill()
                _, self._status = os.waitpid(self.pid, 0)
                self._close()
                return Outcome(error="Timeout", message=f"the child was still there after {seconds} s")
            time.sleep(pause)
            pause = min(0.01, pause * 1.5)
        answer = self._close()
        if os.WIFSIGNALED(self._status):
            return Outcome(signal=os.WTERMSIG(self._status))
        return pickle.loads(answer) if answer else Outcome(error="NoAnswer", message=f"status {self._status}")

    def _close(self):
        answer = b""
        while select.select([self._results], [], [], 0)[0]:
            block = os.read(self._results, 1 << 16)
            if not block:
                break
            answer += block
        os.close(self._results)
        os.close(self._gate)
        return answer


def _be_the_child(gate, results, call):
    """Never returns."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with open(os.environ.get("STRESS_OUTPUT", os.devnull), "ab") as sink:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
        if gate is not None:
            os.write(results, b"!")
            while os.read(gate, 1) == _KNOCK:
                _mark(_HEARD)
            _mark(_BEGIN)
        try:
            outcome = Outcome(call())
        except BaseException as error:
            outcome = Outcome(error=type(error).__name__, message=str(error))
        if gate is not None:
            _mark(_END)
        os.write(results, pickle.dumps(outcome)[: 1 << 15])
        os._exit(0)
    finally:
        os._exit(70)


def _mark(path):
    with contextlib.suppress(OSError):
        os.chdir(path)


def call(function, *arguments, environ=None, **options):
    """What becomes of a child that calls a function."""
    return Child(function, *arguments, environ=environ, **options).wait()


def load_what_it_needs(function, *arguments, **options):
    """Load here what a child loads when it calls a function, so that no later child opens a module's file."""

    def names():
        function(*arguments, **options)
        return sorted(name for name in sys.modules if name != "__main__")

    outcome = call(names)
    if not outcome.is_good:
        raise RuntimeError(f"A plain run does not work here: {outcome}")
    for name in outcome.value:
        __import__(name)


@dataclass(frozen=True)
class SystemCall:
    """One call that a child has made between its marks.

    Parameters
    ----------
    name
        Of the call.
    number
        The how many-th of that name, from 1.
    text
        Arguments and result, as strace writes them.
    """

    name: str
    number: int
    text: str

    def __str__(self):
        return f"{self.name} #{self.number}"

    @property
    def was_injected(self):
        """Whether strace had the kernel do something else."""
        return "(INJECTED" in self.text


class Traced:
    """A child that strace looks at, and meddles with at one call.

    Parameters
    ----------
    child
        It is held.
    log
        Where strace writes.
    names
        The system calls to look at.
    inject
        What happens, and when, in the words of strace; empty for nothing.
    signals
        Which signals are told.
    """

    def __init__(self, child, log, names, inject="", signals="none"):
        self.child, self._log = child, log
        child.wait_until_held()
        command = ["strace", "-qq", "-p", str(child.pid), "-o", log, "-e", f"trace={','.join((*names, 'chdir'))}"]
        command += ["-e", f"signal={signals}", "-s", "256"]
        command += ["-e", f"inject={inject}"] if inject else []
        self._strace = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while not _is_traced(child.pid):
            if self._strace.poll() is not None:
                child.kill()
                raise RuntimeError(f"strace does not work here: {self._strace.stderr.read().decode().strip()}")
            time.sleep(0.001)
        while not self._has_heard():  # strace may be attached, and see no calls yet
            child.knock()
            time.sleep(0.005)
        child.go()

    def _has_heard(self):
        with open(self._log, errors="replace") as file:
            return _HEARD in file.read()

    def wait(self):
        """What became of the child, and the calls that it made between its marks."""
        outcome = self.child.wait()
        self._strace.wait()
        self._strace.stderr.close()
        return outcome, calls_in(self._log)


def _is_traced(pid):
    with open(f"/proc/{pid}/status") as file:
        return not re.search(r"^TracerPid:\t0$", file.read(), re.MULTILINE)


def calls_in(log):
    """The calls between the two marks; the last of them is the one at which the child ended, if it did not go on."""
    found, numbers, is_between, has_begun = [], {}, False, False
    with open(log, errors="replace") as file:
        for line in file:
            match = _CALL.match(line)
            if match is None:
                continue
            name, text = match.groups()
            if name == "chdir":
                is_between = _BEGIN in text
                has_begun = has_begun or is_between
            elif is_between:
                numbers[name] = numbers.get(name, 0) + 1
                found.append(SystemCall(name, numbers[name], text.rstrip("\n")))
            elif not has_begun:
                raise RuntimeError(f"{name} before the mark: counts would be wrong")
    return found
