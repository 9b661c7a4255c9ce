"""Tasks by which Luigi's rules are tested; in a module, so that ``luigi --module`` and worker processes find them."""

from __future__ import annotations

import os
import pickle
import signal
import time

import luigi
import luigi.util
from luigi.tools.range import RangeDaily
from pipelines import Letters, Upper, read_text

import luisy_dir as luisy
from luisy_dir import settings

__all__ = ["RangeDaily"]  # Luigi finds its command where a module has loaded it; the shipped luigi.cfg does not


def trace(line):
    """Add a line that tests can look at, whatever process this is."""
    with open(os.path.join(settings.resolve("working_dir"), "traces"), "a") as file:
        file.write(line + "\n")


def traces():
    """All lines, in the order in which they came."""
    try:
        with open(os.path.join(settings.resolve("working_dir"), "traces")) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


@luisy.make_directory_output(read_text)
@luisy.raw
class DayFiles(luisy.ExternalTask):
    """The files of one day."""

    day = luigi.DateParameter()

    def get_folder_name(self):
        return f"days/{self.day:%Y-%m-%d}"


@luisy.interim
@luisy.requires(DayFiles)
@luisy.directory_output(".txt", engine="serial")
class Daily(luisy.DirectoryTask):
    mark = luigi.Parameter(default="")

    def process(self, text, item):
        trace(f"process {self} {item.key}")
        return text.upper() + self.mark


class TracedUpper(Upper):
    """Leaves a trace of every item."""

    def process(self, text, item):
        trace(f"process {type(self).__name__} {item.key}")
        return text.upper()


class TracedLower(TracedUpper):
    """As the former; the text is in lower case."""

    def process(self, text, item):
        trace(f"process {type(self).__name__} {item.key}")
        return text.lower()


@luisy.final
@luisy.requires(upper=TracedUpper, lower=TracedLower)
@luisy.directory_output(".json", engine="serial")
class BothCases(luisy.DirectoryTask):
    """The lower corner of a diamond."""

    def process(self, upper, lower, item):
        trace(f"process BothCases {item.key}")
        return [upper, lower]


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt")
class AfterTwoMore(luisy.DirectoryTask):
    """Finds out while it runs what else it needs."""

    def run(self):
        trace("run AfterTwoMore")
        upper = yield TracedUpper()
        lower = yield {"lower": TracedLower()}
        trace(f"given {os.path.basename(upper.path)} {os.path.basename(lower['lower'].path)}")
        super().run()

    def setup(self):
        self.everything = "".join([*TracedUpper().read(), *TracedLower().read()])

    def process(self, text, item):
        trace(f"process AfterTwoMore {item.key}")
        return f"{text} of {self.everything}"


class PlainWithTwoMore(luigi.Task):
    """A task of Luigi's own that yields directories."""

    def output(self):
        return luigi.LocalTarget(os.path.join(settings.resolve("working_dir"), "plain.txt"))

    def run(self):
        trace("run PlainWithTwoMore")
        (upper,) = yield [TracedUpper()]
        lower = yield TracedLower()
        with self.output().open("w") as file:
            file.write(" ".join([*upper.read(), *lower.read()]))


@luisy.final
@luisy.json_output
class OneFileWithTwoMore(luisy.Task):
    """A task of one file that yields directories."""

    def run(self):
        trace("run OneFileWithTwoMore")
        upper = yield TracedUpper()
        lower = yield TracedLower()
        self.write([*upper.read(), *lower.read()])


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", workers=2)
class Sluggish(luisy.DirectoryTask):
    """Takes a minute over an item where it is given no more than seconds, and no time at all where it is not."""

    worker_timeout = luigi.IntParameter(default=0, significant=False)

    def process(self, text, item):
        if self.worker_timeout:
            trace(f"began {item.key}")
            time.sleep(60)
        return text


class SluggishAlone(Sluggish):
    engine = "serial"


class SluggishInThreads(Sluggish):
    engine = "threads"

    def process(self, text, item):
        if self.worker_timeout:
            trace(f"began {item.key}")
            time.sleep(60)
        return text


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class KilledOnce(luisy.DirectoryTask):
    """Kills its own process the first time."""

    def process(self, text, item):
        trace(f"process {item.key}")
        if item.key == "b" and traces().count("process b") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return text


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class FailingOnce(luisy.DirectoryTask):
    """One item fails the first time."""

    def process(self, text, item):
        trace(f"process {item.key}")
        if item.key == "b" and traces().count("process b") == 1:
            raise ValueError("not yet")
        return text


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class FailingAlways(luisy.DirectoryTask):
    def process(self, text):
        raise ValueError("never")


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Meeting(luisy.DirectoryTask):
    """Ends when two of its kind have been at work at the same time."""

    number = luigi.IntParameter()

    def process(self, text):
        trace(f"came {self.number}")
        deadline = time.monotonic() + 60
        while {"came 1", "came 2"} - set(traces()):
            if time.monotonic() > deadline:
                raise TimeoutError("the other one never came")
            time.sleep(0.01)
        return text


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class OneAtATime(luisy.DirectoryTask):
    """Needs the one disk that there is."""

    resources = {"disk": 1}  # noqa: RUF012 - as Luigi's users write it
    number = luigi.IntParameter()

    def process(self, text):
        trace(f"begin {self.number}")
        time.sleep(0.02)
        trace(f"end {self.number}")
        return text


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class OneAtATimeByMethod(luisy.DirectoryTask):
    """As the former, said by a method."""

    number = luigi.IntParameter()

    def process_resources(self):
        return {"disk": 1}

    def process(self, text):
        trace(f"begin {self.number}")
        time.sleep(0.02)
        trace(f"end {self.number}")
        return text


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Ranked(luisy.DirectoryTask):
    rank = luigi.IntParameter()

    @property
    def priority(self):
        return self.rank

    def process(self, text, item):
        if item.key == "a":
            trace(f"rank {self.rank}")
        return text


@luisy.final
@luisy.requires(Ranked)
@luisy.directory_output(".txt", engine="serial")
class AfterRanked(luisy.DirectoryTask):
    """Hands its priority on to what it requires."""

    priority = 1000

    def process(self, text):
        return text


class Bird(luisy.DirectoryTask):
    """What two tasks of other families have in common; neither decorated nor with a process."""

    task_namespace = "birds"

    def requires(self):
        return Letters()


@luisy.interim
@luisy.directory_output(".txt", engine="serial")
class Robin(Bird):
    def process(self, text):
        return f"robin {text}"


@luisy.interim
@luisy.directory_output(".txt", engine="serial")
class Wren(Bird):
    task_namespace = "small.birds"

    def process(self, text):
        return f"wren {text}"


@luisy.final
@luisy.directory_output(".txt", engine="serial")
class Flock(luisy.DirectoryTask):
    """Finds out while it runs that it needs tasks in namespaces."""

    def requires(self):
        return Letters()

    def run(self):
        yield [Robin(), Wren()]
        super().run()

    def process(self, text):
        return text


class Traced:
    """A context for each task process, as ``[worker] task_process_context`` names it."""

    def __init__(self, task_process):
        self.task = task_process.task

    def __enter__(self):
        trace(f"enter {self.task}")

    def __exit__(self, *_):
        trace(f"exit {self.task} {'complete' if self.task.complete() else 'incomplete'}")


@luigi.util.delegates
@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", workers=2)
class WithSubtask(luisy.DirectoryTask):
    """Runs another task as a part of itself."""

    def subtasks(self):
        return TracedUpper()

    def process(self, text):
        return text + "".join(self.subtasks().read())


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Waiting(luisy.DirectoryTask):
    """Goes on when it is told to."""

    def process(self, text):
        trace("began")
        deadline = time.monotonic() + 60
        while "go" not in traces():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody said go")
            time.sleep(0.02)
        return text


class Disabled(Upper):
    disabled = True


class FailedAndMissing(luisy.WrapperTask):
    """Requires one task that fails and one whose files are not there."""

    day = luigi.DateParameter()

    def requires(self):
        return [FailingAlways(), Daily(self.day)]


class Growing(Upper):
    """While it runs, another letter arrives."""

    priority = 10

    def run(self):
        super().run()
        with open(os.path.join(Letters().output().path, "c.txt"), "w") as file:
            file.write("Gamma")


@luisy.final
@luisy.requires(Upper, Growing)
@luisy.directory_output(".txt", engine="serial")
class AfterGrowing(luisy.DirectoryTask):
    def process(self, upper, growing):
        return upper


class PickledWhileItRuns(Upper):
    """Luigi hangs a queue and methods of its reporter on it then."""

    accepts_messages = True
    engine = "processes"

    def run(self):
        assert self.scheduler_messages is not None
        trace(f"the same: {pickle.loads(pickle.dumps(self)) is self}")
        super().run()


class Interrupted(Upper):
    """Is at work until it is interrupted."""

    def process(self, text):
        if "mended" not in traces():
            trace("began")
            deadline = time.monotonic() + 60
            while "interrupted" not in traces() and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.5)  # else a run that has nothing more to do may be done before the interrupt comes to it
        return text
