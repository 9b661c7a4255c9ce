"""Luigi's own rules, and that directory tasks live by them.

Luigi 3.8 promises its users certain things, and tests them. The comment at the head of each section names, by file,
class and test, which of Luigi's tests are paraphrased there for directory tasks, and which do not apply and why. What
tests/test_luigi.py (command line, signals, spawn), tests/test_scheduler_page.py (progress, messages, tracking URL) and
tests/test_tasks.py (a task by itself) hold is not repeated.
"""

from __future__ import annotations

import abc
import contextlib
import copy
import datetime as dt
import enum
import gc
import json
import multiprocessing
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter

import luigi
import luigi.task
import luigi.util
import psutil
import pytest
from luigi.mock import MockFileSystem, MockTarget
from luigi.scheduler import Scheduler
from luigi.target import FileSystemTarget
from luigi.task_register import Register
from luigi.tools.range import RangeDaily, RangeHourly, RangeMonthly
from luigi.worker import TaskException, Worker
from pipelines import Letters, Strict, Upper, length, read_text
from rule_tasks import (
    AfterGrowing,
    AfterRanked,
    AfterTwoMore,
    BothCases,
    Daily,
    DayFiles,
    FailingAlways,
    FailingOnce,
    Flock,
    Interrupted,
    KilledOnce,
    Meeting,
    OneAtATime,
    OneAtATimeByMethod,
    OneFileWithTwoMore,
    PickledWhileItRuns,
    PlainWithTwoMore,
    Ranked,
    Robin,
    Sluggish,
    SluggishAlone,
    SluggishInThreads,
    TracedLower,
    TracedUpper,
    Waiting,
    WithSubtask,
    Wren,
    trace,
    traces,
)

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.formats import format_for
from luisy_dir.staging import staging_of
from luisy_dir.targets.directory import DirectoryTarget, RawDirectoryTarget

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = sysconfig.get_path("scripts")
ALREADY_RUNNING, NOT_RUN, TASK_FAILED, SCHEDULING_ERROR, UNHANDLED = 10, 25, 30, 35, 40
Status, Event = luigi.LuigiStatusCode, luigi.Event

in_one_and_two = pytest.mark.parametrize("workers", [1, 2])
on_each_engine = pytest.mark.parametrize("engine", ["serial", "threads", "processes", "async"])


# -- what the tests share ---------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def luigi_is_left_as_it_was():
    """Luigi keeps classes, instances, event handlers and namespaces for the whole process: not those of a test."""
    classes = list(Register._reg)
    handlers = {
        cls: {event: set(callbacks) for event, callbacks in events.items()}
        for cls, events in luigi.Task._event_callbacks.items()
    }
    handler = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, handler or signal.SIG_DFL)  # else it holds the worker, with all that is the worker's
    Register._reg[:] = classes
    Register.clear_instance_cache()
    luigi.Task._event_callbacks.clear()
    luigi.Task._event_callbacks.update(handlers)


@pytest.fixture
def reaped():
    """Make multiprocessing forget what Luigi has ended: psutil, which ends it, has taken its exit code away."""
    yield
    for child in multiprocessing.active_children():
        if not psutil.pid_exists(child.pid):
            multiprocessing.process._children.discard(child)


@pytest.fixture
def configure():
    """Set options as luigi.cfg does: ``configure(worker={"keep_alive": "true"})``."""
    config = luigi.configuration.get_config()
    former = {}

    def set_options(**sections):
        for section, options in sections.items():
            for name, value in options.items():
                former.setdefault((section, name), config.get(section, name, None))
                config.set(section, name, value)

    yield set_options
    for (section, name), value in former.items():
        if value is None:
            config.remove_option(section, name)
        else:
            config.set(section, name, value)


@pytest.fixture
def letters(write_files):
    return write_files(Letters().output().path, {"a.txt": b"Alpha", "b.txt": b"Beta"})


def build(*tasks, workers=1, **options):
    """What ``luigi.build`` says of tasks, in detail."""
    options = {"log_level": "WARNING", "local_scheduler": True, "detailed_summary": True} | options
    return luigi.build(list(tasks), workers=workers, **options)


def command(*arguments, script="luigi", lock=False):
    """Command line that runs ``luigi`` on the tasks of tests/rule_tasks.py, and its environment."""
    extra = [] if script != "luigi" else ["--local-scheduler", *([] if lock else ["--no-lock"])]
    environment = os.environ | {
        "PYTHONPATH": os.path.join(REPOSITORY, "tests"),
        "LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"),
    }
    return [sys.executable, os.path.join(SCRIPTS, script), "--module", "rule_tasks", *arguments, *extra], environment


@pytest.fixture
def run_luigi(working_dir):
    """``run_luigi("SomeTask", "--flag", "value")``: a ``luigi`` process with the shipped luigi.cfg, and its answer."""

    def run(*arguments, **options):
        words, environment = command(*arguments, "--luisy-dir-working-dir", str(working_dir), **options)
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=100, check=False)

    return run


def collect(cls, *events):
    """The arguments of each such event of a class, as they come; each begins with the event."""
    seen = []

    def add(event):
        cls.event_handler(event)(lambda *arguments: seen.append((event, *arguments)))

    for event in events:
        add(event)
    return seen


def join_task_processes():
    """Luigi does not wait for a process that has sent its result."""
    for child in multiprocessing.active_children():
        child.join()


def wait_until(is_true, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def assert_no_litter(*tasks):
    """Nothing lies in a layer folder but what was published there."""
    for task in tasks:
        published = {other.output().path for other in tasks}
        names = os.listdir(task.get_outdir()) if os.path.exists(task.get_outdir()) else []
        assert {os.path.join(task.get_outdir(), name) for name in names} <= published
        assert not os.path.exists(staging_of(task.output().path))


def texts_of(task):
    return {item.key: data for item, data in task.items()}


# -- ranges of days ---------------------------------------------------------------------------------------------------
#
# Paraphrased: task_bulk_complete_test MixinNaiveBulkCompleteTest (all three); range_test RangeDailyTest
# .test_bulk_complete_correctly_interfaced, .test_bulk_complete_of_params, .test_missing_tasks_correctly_required, and
# the first of these for RangeHourlyTest; RangeInstantiationTest.test_cli_instantiation, .test_of_param_commandline.
# Do not apply: range_test FilesystemInferenceTest: Luigi lists the file system only where a task has no bulk_complete;
# of a directory it would list the files, and never find the directory itself.
# RangeByMinutesTest, the arithmetic of dates, task_limit, events of ranges: nothing in them touches the task.


DAYS = [dt.date(2024, 5, day) for day in (1, 2, 3, 4)]


def a_range(kind=RangeDaily, of=Daily, param_name="day", **options):
    """The four days as a range, seen from the day after."""
    now = int(dt.datetime(2024, 5, 5, tzinfo=dt.UTC).timestamp())
    usual = {"start": DAYS[0], "stop": dt.date(2024, 5, 5), "now": now}
    return kind(of=of, param_name=param_name, **(usual | options))  # Luigi warns of its own default, None


@pytest.fixture
def days(write_files):
    for day in DAYS:
        write_files(DayFiles(day).output().path, {"a.txt": f"{day:%A}".encode()})
    return DAYS


class TestRanges:
    @pytest.mark.parametrize("form", [lambda day: day, lambda day: (day,), lambda day: {"day": day}])
    def test_bulk_complete_names_what_is_complete_in_the_form_in_which_it_was_asked(self, days, form):
        Daily(days[1]).run()
        assert Daily.bulk_complete(map(form, days)) == [form(days[1])]

    def test_a_range_requires_the_days_that_are_missing_and_no_others(self, days):
        Daily(days[1]).run()
        assert a_range().requires() == [Daily(days[0]), Daily(days[2]), Daily(days[3])]

    def test_a_day_that_is_no_longer_up_to_date_is_missing(self, days, write_files):
        """A listing of the file system could not know."""
        Daily(days[1]).run()
        Daily(days[2]).run()
        write_files(DayFiles(days[1]).output().path, {"a.txt": b"another day"})
        assert a_range().requires() == [Daily(days[0]), Daily(days[1]), Daily(days[3])]

    def test_other_parameters_are_handed_on(self, days):
        Daily(days[0], mark="!").run()
        missing = a_range(of_params={"mark": "!"}).requires()
        assert missing == [Daily(day, mark="!") for day in days[1:]]

    @in_one_and_two
    def test_a_range_makes_every_day(self, days, workers):
        assert build(a_range(), workers=workers).status == Status.SUCCESS
        assert [texts_of(Daily(day)) for day in days] == [{"a": f"{day:%A}".upper()} for day in days]
        assert_no_litter(*map(Daily, days))

    def test_a_day_without_files_is_missing_data_and_the_others_are_made(self, days):
        shutil.rmtree(DayFiles(days[2]).output().path)
        assert build(a_range()).status == Status.MISSING_EXT
        assert [Daily(day).complete() for day in days] == [True, True, False, True]

    @in_one_and_two
    def test_from_the_command_line_a_second_run_finds_nothing_to_do(self, days, run_luigi, workers):
        arguments = ["RangeDaily", "--of", "Daily", "--of-params", '{"mark": "?"}', "--start", "2024-05-01"]
        arguments += ["--stop", "2024-05-05", "--days-back", "100000", "--workers", str(workers)]
        first, second = run_luigi(*arguments), run_luigi(*arguments)
        assert (first.returncode, second.returncode) == (0, 0), first.stderr
        assert "4 Daily(" in first.stderr
        assert "Did not run any tasks" in second.stderr
        assert len(traces()) == 4

    def test_hours_are_asked_in_bulk_too(self, letters):
        class Hourly(Upper):
            hour = luigi.DateHourParameter()

        first = dt.datetime(2024, 5, 1, 7)  # noqa: DTZ001 - Luigi's hours know no zone
        Hourly(first).run()
        hours = a_range(RangeHourly, Hourly, "hour", start=first, stop=first + dt.timedelta(hours=3)).requires()
        assert [task.hour.hour for task in hours] == [8, 9]

    def test_months_are_asked_one_by_one(self, letters):
        class Monthly(Upper):
            month = luigi.MonthParameter()

        Monthly(dt.date(2024, 2, 1)).run()
        months = a_range(RangeMonthly, Monthly, "month", start=dt.date(2024, 1, 1), stop=dt.date(2024, 4, 1))
        assert [task.month.month for task in months.requires()] == [1, 3]


# -- what a task finds out while it runs ------------------------------------------------------------------------------
#
# Paraphrased: worker_test DynamicDependenciesTest.test_dynamic_dependencies, .test_dynamic_dependencies_with_namespace,
# .test_dynamic_dependencies_other_module, .test_wrapped_dynamic_requirements, and these with several workers
# (DynamicDependenciesWithMultipleWorkersTest); task_forwarded_attributes_test (both).
# Do not apply: that they are fast (a timing); worker_test WorkerTest.test_avoid_infinite_reschedule and
# .test_allow_reschedule_with_many_missing_deps: the scheduler alone.


def assert_each_item_was_processed_once(*names):
    seen = Counter(line for line in traces() if line.startswith("process"))
    assert seen == Counter(f"process {name} {key}" for name in names for key in "ab")


class TestDynamicRequirements:
    @in_one_and_two
    def test_a_plain_task_may_yield_directories(self, letters, workers):
        assert build(PlainWithTwoMore(), workers=workers).status == Status.SUCCESS
        with PlainWithTwoMore().output().open() as file:
            assert file.read() == "ALPHA BETA alpha beta"
        assert traces().count("run PlainWithTwoMore") == 3
        assert_each_item_was_processed_once("TracedUpper", "TracedLower")

    @in_one_and_two
    def test_a_task_of_one_file_may_yield_directories(self, letters, workers):
        assert build(OneFileWithTwoMore(), workers=workers).status == Status.SUCCESS
        assert OneFileWithTwoMore().read() == ["ALPHA", "BETA", "alpha", "beta"]
        assert_each_item_was_processed_once("TracedUpper", "TracedLower")

    @in_one_and_two
    @on_each_engine
    def test_a_directory_task_may_yield_before_it_does_its_own_work(self, letters, configure, engine, workers):
        """Its run begins anew for everything that it yields, and nothing that was published is made again."""
        configure(luisy_dir={"engine": engine, "workers": "2"})
        assert build(AfterTwoMore(), workers=workers).status == Status.SUCCESS

        assert texts_of(AfterTwoMore()) == {"a": "Alpha of ALPHABETAalphabeta", "b": "Beta of ALPHABETAalphabeta"}
        assert traces().count("run AfterTwoMore") == 3
        assert traces().count("given TracedUpper TracedLower") == 1
        assert_each_item_was_processed_once("TracedUpper", "TracedLower", "AfterTwoMore")
        assert_no_litter(AfterTwoMore(), TracedUpper(), TracedLower())

    def test_what_is_complete_already_is_given_at_once(self, letters):
        TracedUpper().run()
        TracedLower().run()
        assert build(AfterTwoMore()).status == Status.SUCCESS
        assert traces().count("run AfterTwoMore") == 1

    @in_one_and_two
    def test_a_directory_task_may_yield_after_its_own_work(self, letters, workers):
        """The second time its directory is up to date, and nothing is done to it."""

        class BeforeTwoMore(TracedUpper):
            def run(self):
                super().run()
                yield TracedLower()
                trace("end of run")

        assert build(BeforeTwoMore(), workers=workers).status == Status.SUCCESS
        assert traces().count("end of run") == 1
        assert_each_item_was_processed_once("BeforeTwoMore", "TracedLower")

    def test_what_it_required_stays_when_the_task_itself_fails(self, letters):
        class FailsInTheEnd(AfterTwoMore):
            def process(self, text, item):
                if item.key == "b" and "mended" not in traces():
                    raise ValueError("not yet")
                return text

        assert build(FailsInTheEnd()).status == Status.FAILED
        trace("mended")
        assert build(FailsInTheEnd()).status == Status.SUCCESS
        assert_each_item_was_processed_once("TracedUpper", "TracedLower")
        assert_no_litter(FailsInTheEnd(), TracedUpper(), TracedLower())

    def test_what_cannot_be_made_leaves_the_task_undone(self, letters):
        class AfterAFailure(Upper):
            def run(self):
                yield FailingAlways()
                super().run()

        answer = build(AfterAFailure())
        assert answer.status == Status.FAILED
        assert not os.path.exists(AfterAFailure().output().path)

    def test_requirements_may_come_with_their_own_look_for_completeness(self, days):
        looked = []

        def are_there(is_complete):
            looked.append(is_complete(Daily(days[0])))
            return {"Daily", *os.listdir(os.path.dirname(Daily(days[0]).output().path))} >= {
                os.path.basename(Daily(day).output().path) for day in days
            }

        class AllDays(luigi.Task):
            done = False

            def complete(self):
                return type(self).done

            def run(self):
                yield luigi.DynamicRequirements([Daily(day) for day in days])
                yield luigi.DynamicRequirements([Daily(day) for day in days], are_there)
                type(self).done = True

        assert build(AllDays()).status == Status.SUCCESS
        assert looked == [True]
        assert all(Daily(day).complete() for day in days)

    @in_one_and_two
    def test_they_may_live_in_namespaces(self, letters, run_luigi, workers):
        """Luigi loads them by module, family and parameters."""
        answer = run_luigi("Flock", "--workers", str(workers))
        assert answer.returncode == 0, answer.stderr
        assert texts_of(Wren()) == {"a": "wren Alpha", "b": "wren Beta"}
        assert Flock().complete()


# -- events -----------------------------------------------------------------------------------------------------------
#
# Paraphrased: event_callbacks_test TestEventCallbacks (all), TestDependencyEvents (both); worker_test
# WorkerPurgeEventHandlerTest.test_process_killed_handler; worker_task_test TaskProcessTest
# .test_update_result_queue_on_success, .test_update_result_queue_on_failure (what on_success and on_failure are given).


class TestEvents:
    def test_a_good_run_tells_start_progress_time_and_success(self, letters):
        seen = collect(
            Upper, Event.START, Event.PROGRESS, Event.PROCESSING_TIME, Event.SUCCESS, Event.FAILURE, Event.BROKEN_TASK
        )
        build(Upper())

        assert [event for event, *_ in seen] == [Event.START, Event.PROGRESS, Event.PROCESSING_TIME, Event.SUCCESS]
        assert all(task is Upper() for _, task, *_ in seen)
        assert seen[1][2] | {"seconds": 0} == {
            "total": 2, "done": 2, "percentage": 100.0, "seconds": 0,
            "written": 2, "skipped": 0, "rejected": 0, "failed": 0,
        }  # fmt: skip
        assert seen[2][2] >= 0

    def test_a_bad_run_tells_its_failure_with_the_error(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fail now"})
        seen = collect(Strict, Event.START, Event.PROCESSING_TIME, Event.SUCCESS, Event.FAILURE)
        build(Strict())

        assert [event for event, *_ in seen] == [Event.START, Event.FAILURE]
        error = seen[1][2]
        assert isinstance(error, errors.ItemsFailedError)
        assert "b: ValueError: cannot read 'fail now'" in str(error)
        assert isinstance(error.__cause__, ValueError)

    def test_nothing_to_do_tells_nothing(self, letters):
        Upper().run()
        seen = collect(Upper, Event.START, Event.PROGRESS, Event.SUCCESS)
        build(Upper())
        assert seen == []

    def test_with_two_workers_they_are_told_in_the_task_process(self, letters):
        @TracedUpper.event_handler(Event.START)
        @TracedUpper.event_handler(Event.SUCCESS)
        def tell(task):
            trace(f"told {task} {os.getpid()}")

        build(TracedUpper(), workers=2)
        told = [line for line in traces() if line.startswith("told")]
        assert len(told) == 2
        assert len(set(told)) == 1
        assert told[0] != f"told TracedUpper() {os.getpid()}"

    def test_a_handler_of_a_class_hears_of_its_subclasses_and_of_no_others(self, letters):
        seen = collect(Upper, Event.SUCCESS)
        build(TracedUpper(), Strict())
        assert seen == [(Event.SUCCESS, TracedUpper())]

    def test_a_handler_that_was_removed_hears_nothing(self, letters):
        seen = []
        handler = Upper.event_handler(Event.START)(seen.append)
        build(Upper())
        Upper.remove_event_handler(Event.START, handler)
        Upper().output().remove()
        build(Upper())
        assert seen == [Upper()]

    def test_a_handler_that_raises_costs_the_run_nothing(self, letters, caplog):
        @Upper.event_handler(Event.START)
        @Upper.event_handler(Event.PROGRESS)
        @Upper.event_handler(Event.SUCCESS)
        def break_down(*_):
            raise ValueError("a broken handler")

        assert build(Upper()).status == Status.SUCCESS
        assert texts_of(Upper()) == {"a": "ALPHA", "b": "BETA"}
        assert caplog.text.count("Error in event callback") == 3

    def test_a_task_may_have_events_of_its_own(self, letters):
        class Announcing(Upper):
            def run(self):
                super().run()
                self.trigger_event("published", self.output().path)

        seen = collect(Announcing, "published")
        build(Announcing())
        assert seen == [("published", Announcing().output().path)]

    @in_one_and_two
    def test_on_success_and_on_failure_are_called(self, letters, workers):
        class Telling(FailingOnce):
            def on_failure(self, exception):
                trace(f"failed: {type(exception).__name__}")
                return super().on_failure(exception)

            def on_success(self):
                trace("succeeded")

        build(Telling(), workers=workers)
        build(Telling(), workers=workers)
        assert [line for line in traces() if not line.startswith("process")] == [
            "failed: ItemsFailedError",
            "succeeded",
        ]

    def test_dependencies_are_told_as_they_are_discovered_and_found(self, letters):
        seen = collect(luigi.Task, Event.DEPENDENCY_DISCOVERED, Event.DEPENDENCY_PRESENT, Event.DEPENDENCY_MISSING)
        build(length())
        assert seen == [
            (Event.DEPENDENCY_DISCOVERED, length(), Upper()),
            (Event.DEPENDENCY_DISCOVERED, Upper(), Letters()),
            (Event.DEPENDENCY_PRESENT, Letters()),
        ]

    def test_a_raw_folder_that_is_not_there_is_told_as_missing(self):
        seen = collect(luigi.Task, Event.DEPENDENCY_PRESENT, Event.DEPENDENCY_MISSING)
        build(length())
        assert seen == [(Event.DEPENDENCY_MISSING, Letters())]

    def test_below_a_directory_that_is_up_to_date_nobody_looks(self, letters):
        Upper().run()
        seen = collect(luigi.Task, Event.DEPENDENCY_DISCOVERED, Event.DEPENDENCY_PRESENT)
        build(length())
        assert seen == [(Event.DEPENDENCY_DISCOVERED, length(), Upper()), (Event.DEPENDENCY_PRESENT, Upper())]

    def test_a_task_whose_requirements_raise_is_told_as_broken(self):
        class Unsure(Upper):
            def requires(self):
                raise errors.MissingInputError("which folder?")

        seen = collect(Unsure, Event.BROKEN_TASK)
        build(Unsure())
        ((_, task, error),) = seen
        assert task is Unsure()
        assert isinstance(error, errors.MissingInputError)

    def test_a_task_process_that_is_killed_is_told_and_the_next_run_succeeds(self, letters):
        seen = collect(KilledOnce, Event.PROCESS_FAILURE, Event.SUCCESS, Event.FAILURE)
        answer = build(KilledOnce(), workers=2)

        assert answer.status == Status.FAILED
        ((event, task, message),) = seen
        assert (event, task) == (Event.PROCESS_FAILURE, KilledOnce())
        assert "died unexpectedly with exit code -9" in message
        assert not os.path.exists(KilledOnce().output().path)

        assert build(KilledOnce(), workers=2).status == Status.SUCCESS
        assert texts_of(KilledOnce()) == {"a": "Alpha", "b": "Beta"}
        assert_no_litter(KilledOnce())


# -- a context around each task process -------------------------------------------------------------------------------
#
# Paraphrased: worker_task_process_test ContextManagedTaskProcessTest (both).


class TestTaskProcessContext:
    @in_one_and_two
    def test_it_is_entered_before_the_run_and_left_when_the_directory_is_published(self, letters, configure, workers):
        configure(worker={"task_process_context": "rule_tasks.Traced"})
        assert build(TracedUpper(), TracedLower(), workers=workers).status == Status.SUCCESS
        join_task_processes()
        for name in ("TracedUpper", "TracedLower"):
            assert [line for line in traces() if name in line] == [
                f"enter {name}()", f"process {name} a", f"process {name} b", f"exit {name}() complete",
            ]  # fmt: skip

    @in_one_and_two
    def test_it_is_left_after_a_failure_too(self, letters, configure, workers):
        configure(worker={"task_process_context": "rule_tasks.Traced"})
        assert build(FailingAlways(), workers=workers).status == Status.FAILED
        join_task_processes()
        assert traces() == ["enter FailingAlways()", "exit FailingAlways() incomplete"]


# -- retries ----------------------------------------------------------------------------------------------------------
#
# Paraphrased: worker_test PerTaskRetryPolicyBehaviorTest.test_with_all_disabled_with_single_worker,
# .test_with_includes_success_with_single_worker, .test_with_dynamic_dependencies_with_single_worker, and these with
# several workers; worker_keep_alive_test WorkerKeepAliveUpstreamTest (both); worker_test WorkerKeepAliveTests
# .test_keep_alive_through_failure and .test_do_not_keep_alive_through_disable; retcodes_test RetcodesTest
# .test_retry_sucess_task; execution_summary_test ExecutionSummaryTest.test_status_with_task_retry.
# Does not apply: PerTaskRetryPolicyBehaviorTest.test_per_task_disable_persist_with_single_worker: the scheduler alone.


@pytest.fixture
def patient(configure):
    """A worker that waits for tasks which failed to be tried again, and a scheduler that lets them try soon."""
    configure(
        worker={"keep_alive": "true", "wait_interval": "0.02", "wait_jitter": "0"},
        scheduler={"retry_delay": "0.02"},
    )


class TestRetries:
    @in_one_and_two
    def test_a_task_that_fails_at_first_and_then_succeeds_is_a_success(self, letters, patient, workers):
        class AfterFailingOnce(Upper):
            def requires(self):
                return FailingOnce()

        answer = build(AfterFailingOnce(), workers=workers)
        assert answer.status == Status.SUCCESS_WITH_RETRY
        assert texts_of(AfterFailingOnce()) == {"a": "ALPHA", "b": "BETA"}
        assert_no_litter(FailingOnce(), AfterFailingOnce())

    @in_one_and_two
    def test_a_bad_file_may_be_mended_between_two_tries(self, write_files, patient, workers):
        folder = write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fail now"})

        @Strict.event_handler(Event.FAILURE)
        def mend(task, error):
            assert isinstance(error, errors.ItemsFailedError)
            write_files(folder, {"b.txt": b"mended"})

        assert build(Strict(), workers=workers).status == Status.SUCCESS_WITH_RETRY
        assert texts_of(Strict()) == {"a": "fine", "b": "mended"}
        assert_no_litter(Strict())

    @in_one_and_two
    def test_after_as_many_failures_as_it_may_have_it_is_disabled(self, letters, patient, workers):
        class ThreeTimes(FailingAlways):
            retry_count = 3

        class Once(FailingAlways):
            retry_count = 1

        class After(luisy.WrapperTask):
            def requires(self):
                return [ThreeTimes(), Once(), Upper()]

        for cls in (ThreeTimes, Once):
            cls.event_handler(Event.FAILURE)(lambda task, error: trace(f"failed {task}"))
        answer = build(After(), workers=workers)

        assert answer.status == Status.FAILED
        assert Counter(traces()) == {"failed ThreeTimes()": 3, "failed Once()": 1}
        scheduler = answer.worker._scheduler
        assert set(scheduler.task_list("DISABLED", "")) == {ThreeTimes().task_id, Once().task_id}
        assert set(scheduler.task_list("PENDING", "UPSTREAM_DISABLED")) == {After().task_id}
        assert set(scheduler.task_list("DONE", "")) >= {Upper().task_id}

    def test_what_a_task_yields_is_tried_again_too(self, letters, patient):
        class Yielding(Upper):
            def run(self):
                yield FailingOnce()
                super().run()

        assert build(Yielding()).status == Status.SUCCESS_WITH_RETRY
        assert_no_litter(Yielding(), FailingOnce())

    def test_a_worker_that_does_not_wait_fails_and_the_next_one_succeeds(self, letters):
        assert build(FailingOnce()).status == Status.FAILED
        assert build(FailingOnce()).status == Status.SUCCESS
        assert_no_litter(FailingOnce())

    @in_one_and_two
    def test_on_the_command_line_a_success_after_a_retry_is_exit_code_zero(self, letters, run_luigi, workers):
        arguments = ["--scheduler-retry-delay", "0.02", "--worker-keep-alive", "--worker-wait-interval", "0.02"]
        answer = run_luigi("FailingOnce", *arguments, "--worker-wait-jitter", "0", "--workers", str(workers))
        assert answer.returncode == 0, answer.stderr
        assert "they all succeeded in a retry" in answer.stderr


# -- tasks that take too long -----------------------------------------------------------------------------------------
#
# Paraphrased: worker_test MultipleWorkersTest.test_time_out_hung_worker, .test_time_out_hung_single_worker,
# .test_term_worker, .test_kill_worker (above, TestEvents), .test_system_exit, .test_zero_workers;
# WorkerPurgeEventHandlerTest.test_timeout_handler, .test_timeout_handler_single_worker; worker_task_test
# TaskProcessTest.test_cleanup_children_on_terminate, .test_disable_worker_timeout.
# Do not apply: MultipleWorkersTest.test_purge_hung_worker_*, .test_no_process_leak_from_repeatedly_running_same_task,
# .test_purge_multiple_workers: they replace Luigi's clock or call its inner parts, and hold of the worker alone.


class TestTimeOut:
    @in_one_and_two
    @pytest.mark.parametrize(("task_class", "seconds"), [(SluggishAlone, 2), (SluggishInThreads, 2), (Sluggish, 4)])
    def test_it_ends_the_run_with_all_its_processes_and_the_next_run_succeeds(
        self, letters, reaped, monkeypatch, task_class, seconds, workers
    ):
        monkeypatch.setenv("STARTED_BY_THIS_TEST", mark := os.urandom(8).hex())
        seen = collect(task_class, Event.TIMEOUT)
        answer = build(task_class(worker_timeout=seconds), workers=workers)

        assert answer.status == Status.FAILED
        ((_, task, message),) = seen
        assert task == task_class()
        assert f"timed out after {seconds} seconds" in message
        assert any(line.startswith("began") for line in traces()), "it was ended before it could begin"
        wait_until(lambda: not list(processes_at_work(mark)))
        assert not os.path.exists(task_class().output().path)

        assert build(task_class(worker_timeout=0), workers=workers).status == Status.SUCCESS
        assert texts_of(task_class()) == {"a": "Alpha", "b": "Beta"}
        assert_no_litter(task_class())

    def test_that_of_luigi_cfg_counts_where_the_task_has_none(self, letters, reaped, configure):
        class WithoutOne(SluggishAlone):
            worker_timeout = None

            def process(self, text, item):
                if "mended" not in traces():
                    time.sleep(60)
                return text

        configure(worker={"timeout": "1"})
        assert build(WithoutOne()).status == Status.FAILED
        trace("mended")
        assert build(WithoutOne()).status == Status.SUCCESS
        assert_no_litter(WithoutOne())

    def test_a_task_may_say_that_it_has_all_the_time_in_the_world(self, letters, configure):
        configure(worker={"timeout": "1"})

        class Patient(Upper):
            worker_timeout = 0

            def process(self, text):
                time.sleep(0.8)
                return text.upper()

        assert build(Patient(), workers=2).status == Status.SUCCESS

    @in_one_and_two
    @on_each_engine
    def test_an_exit_in_the_middle_of_an_item_is_a_failed_item(self, letters, engine, workers):
        class Exiting(Upper):
            def process(self, text):
                sys.exit("enough")

        Exiting.engine = engine
        answer = build(Exiting(), workers=workers)
        assert answer.status == Status.FAILED
        assert set(Exiting().report()["error_type"].dropna()) == {"SystemExit"}

    def test_without_workers_tasks_are_scheduled_and_not_run(self, letters):
        build(Upper(), workers=0)
        assert not Upper().complete()


def processes_at_work(mark):
    """Children, and what was spawned with that mark in its environment; not the bookkeeper of multiprocessing."""
    children = psutil.Process().children(recursive=True)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_ours = process in children or process.environ().get("STARTED_BY_THIS_TEST") == mark
            is_alive = is_ours and process.status() != psutil.STATUS_ZOMBIE
            if is_alive and "resource_tracker" not in " ".join(process.cmdline()):
                yield process


# -- resources and priorities -----------------------------------------------------------------------------------------
#
# Paraphrased: task_running_resources_test LocalRunningResourcesTest.test_resource_reduction,
# ConcurrentRunningResourcesTest.test_tasks_serial, .test_tasks_parallel; priority_test PriorityTest (both).


class TestResources:
    def test_without_them_two_directories_are_made_at_the_same_time(self, letters):
        """Each of the two waits for the other: so this says that the next test would see an overlap."""
        assert build(Meeting(number=1), Meeting(number=2), workers=2).status == Status.SUCCESS

    @pytest.mark.parametrize("task_class", [OneAtATime, OneAtATimeByMethod])
    def test_two_that_need_the_same_disk_are_made_one_after_the_other(self, letters, task_class):
        first, second = task_class(number=1), task_class(number=2)
        assert build(first, second, workers=2).status == Status.SUCCESS

        begun = [line.split() for line in traces()]
        assert [verb for verb, _ in begun] == ["begin", "end"] * 4
        assert [number for _, number in begun] in (["1"] * 4 + ["2"] * 4, ["2"] * 4 + ["1"] * 4)
        spans = sorted((record.start, record.end) for record in records_of(first, second))
        assert spans[0][1] <= spans[1][0]

    def test_where_there_are_two_disks_they_are_made_at_the_same_time(self, letters, configure):
        class Needing(Meeting):
            resources = {"disk": 1}  # noqa: RUF012 - as Luigi's users write it

        configure(resources={"disk": "2"})
        assert build(Needing(number=1), Needing(number=2), workers=2).status == Status.SUCCESS

    def test_a_running_task_may_give_back_what_it_no_longer_needs(self, letters):
        class Generous(Meeting):
            resources = {"disk": 1}  # noqa: RUF012 - as Luigi's users write it

            def run(self):
                self.decrease_running_resources({"disk": 1})
                super().run()

        scheduler = Scheduler()
        with Worker(scheduler=scheduler, worker_processes=1) as worker:
            trace("came 1")
            worker.add(Generous(number=2))
            assert worker.run()
        assert scheduler.get_running_task_resources(Generous(number=2).task_id)["resources"] == {"disk": 0}

    def test_the_highest_priority_comes_first(self, letters):
        assert build(*[Ranked(rank=rank) for rank in (2, 5, 3)]).status == Status.SUCCESS
        assert traces() == ["rank 5", "rank 3", "rank 2"]

    def test_what_a_task_of_high_priority_requires_comes_first_too(self, letters):
        assert build(Ranked(rank=5), AfterRanked(rank=1)).status == Status.SUCCESS
        assert traces() == ["rank 1", "rank 5"]

    def test_a_disabled_task_is_not_run(self, letters):
        class Disabled(Upper):
            disabled = True

        build(Disabled())
        assert not Disabled().complete()


def records_of(*tasks):
    return [task.output().manifest().record for task in tasks]


# -- luigi.util and other ways to make a task of a task ---------------------------------------------------------------
#
# Paraphrased: decorator_test InheritTest, RequiresTest and CloneParentTest (all), CopyTest.test_copy,
# PickleTest.test_pickle, SubtaskTest (all); util_test BasicsTest (all); clone_test CloneTest (all); util_previous_test
# DateTaskOkTest (all); wrap_test WrapperTest and WrapperWithMultipleWorkersTest; set_task_name_test SetTaskNameTest;
# subtask_test AbstractSubclassTest (both); task_register_test TaskRegisterTest.test_externalize_taskclass; worker_test
# WorkerTest.test_externalized_dep.
# Do not apply: util_previous_test of hours, minutes and seconds: the same code; worker_test WorkerTest
# .test_legacy_externalized_dep: run = NotImplemented is deprecated.


@luisy.make_directory_output(read_text)
@luisy.raw
class SizedLetters(luisy.ExternalTask):
    size = luigi.IntParameter(default=8)

    def get_folder_name(self):
        return "letters"


class KeptText(luisy.DirectoryTask):
    """What the classes of this section have in common."""

    layer = "interim"
    format = format_for(".txt")
    engine = "serial"

    def process(self, text):
        return text


class TestInheritance:
    def test_parameters_are_inherited_with_their_defaults(self):
        @luigi.util.inherits(SizedLetters)
        class Child(KeptText):
            depth = luigi.IntParameter(default=1)

        assert (Child().size, Child(size=9).size) == (8, 9)
        assert Child(size=9).clone_parent() == SizedLetters(size=9)
        assert os.path.basename(Child().output().path) == "Child_depth=1_size=8"

    def test_along_a_chain_from_several_and_in_layers_of_decorators(self):
        class Deep(luigi.Task):
            depth = luigi.IntParameter(default=1)

        @luigi.util.inherits(SizedLetters)
        class First(KeptText):
            first = luigi.IntParameter(default=0)

        @luigi.util.inherits(First)
        class Second(KeptText):
            pass

        @luigi.util.inherits(SizedLetters, Deep)
        class Both(KeptText):
            pass

        @luigi.util.inherits(SizedLetters)
        @luigi.util.inherits(Deep)
        class Stacked(KeptText):
            pass

        assert set(Second.get_param_names()) == {"size", "first"}
        assert set(Both.get_param_names()) == set(Stacked.get_param_names()) == {"size", "depth"}

    def test_a_default_may_be_another_and_a_parameter_may_be_taken_away(self):
        @luigi.util.requires(SizedLetters)
        class Larger(KeptText):
            size = luigi.IntParameter(default=16)

        @luigi.util.inherits(SizedLetters)
        class Fixed(KeptText):
            size = None

            def requires(self):
                return SizedLetters(size=1, **luigi.util.common_params(self, SizedLetters))

        assert Larger().requires() == SizedLetters(size=16)
        assert Fixed.get_param_names() == []
        assert Fixed().requires() == SizedLetters(size=1)

    def test_one_several_and_named_requirements(self, write_files):
        write_files(SizedLetters().output().path, {"a.txt": b"alpha"})

        @luigi.util.requires(SizedLetters)
        class One(KeptText):
            pass

        @luigi.util.requires(SizedLetters, One)
        class Several(KeptText):
            def process(self, raw, one):
                return f"{raw} and {one}"

        @luigi.util.requires(first=One, second=Several)
        class Named(KeptText):
            def process(self, second, first):
                return f"{first}, {second}"

        assert One().requires() == SizedLetters()
        assert Several(size=3).requires() == [SizedLetters(size=3), One(size=3)]
        assert Named(size=3).requires() == {"first": One(size=3), "second": Several(size=3)}
        assert build(Named(size=3)).status == Status.SUCCESS
        assert texts_of(Named(size=3)) == {"a": "alpha, alpha and alpha"}

    def test_a_parameter_without_a_default_is_asked_for(self):
        class Asking(SizedLetters):
            size = luigi.IntParameter()

        @luigi.util.requires(Asking)
        class Child(KeptText):
            pass

        with pytest.raises(luigi.parameter.MissingParameterException):
            Child()
        assert Child(size=3).requires() == Asking(size=3)

    def test_common_params_hands_parameters_on(self):
        class Child(KeptText):
            size = luigi.IntParameter(default=4)
            depth = luigi.IntParameter(default=1)

            def requires(self):
                return SizedLetters(**luigi.util.common_params(self, SizedLetters))

        assert Child().requires() == SizedLetters(size=4)
        with pytest.raises(TypeError):
            luigi.util.common_params(SizedLetters, Child())

    def test_nothing_to_inherit_is_an_error(self):
        for decorator in (luigi.util.inherits, luigi.util.requires):
            with pytest.raises(TypeError):
                decorator()(KeptText)

    def test_parameters_and_their_order_are_those_that_luigi_finds(self):
        class Mixin:
            from_mixin = luigi.Parameter(default="")
            hidden = luigi.Parameter(default="")

        class Parent(KeptText):
            later = luigi.IntParameter(default=0)
            gone = luigi.IntParameter(default=0)
            again = luigi.IntParameter(default=0)

        class Grandchild(Mixin, Parent):
            again = luigi.IntParameter(default=1)
            gone = None
            hidden = "a constant"

        Parent.added = luigi.IntParameter(default=2)
        names = [name for name, _ in Grandchild.get_params()]
        assert names == ["from_mixin", "later", "again", "added"]
        assert Grandchild.get_params() == luigi.Task.get_params.__func__(Grandchild)

    def test_class_name_and_bases_stay_as_they_are(self):
        @luigi.util.requires(SizedLetters)
        class Heir(KeptText):
            pass

        assert (Heir.__name__, str(Heir()), Heir.__mro__[1]) == ("Heir", "Heir(size=8)", KeptText)
        assert Register.get_task_cls("Heir") is Heir

    def test_a_clone_takes_over_what_it_can(self):
        class Child(KeptText):
            size = luigi.IntParameter()
            depth = luigi.IntParameter(default=1)

        assert Child(size=3).clone(depth=2) == Child(size=3, depth=2)
        assert Child(size=3).clone(SizedLetters) == SizedLetters(size=3)

    def test_the_previous_day_is_found(self, days):
        Daily(days[0]).run()
        assert luigi.util.previous(Daily(days[3])) == Daily(days[2])
        assert luigi.util.get_previous_completed(Daily(days[3])) == Daily(days[0])
        assert luigi.util.get_previous_completed(Daily(days[3]), 2) is None

    def test_an_abstract_base_cannot_be_instantiated_and_its_heirs_can(self, letters):
        class Abstract(KeptText, abc.ABC):
            def requires(self):
                return Letters()

            @abc.abstractmethod
            def mark(self): ...

            def process(self, text):
                return text + self.mark()

        class Concrete(Abstract):
            def mark(self):
                return "!"

        with pytest.raises(TypeError, match="abstract"):
            Abstract()
        assert build(Concrete()).status == Status.SUCCESS
        assert texts_of(Concrete()) == {"a": "Alpha!", "b": "Beta!"}

    @in_one_and_two
    def test_a_class_may_be_made_around_a_task_and_be_renamed(self, letters, workers):
        def shouted(task_class):
            class Shouted(KeptText):
                def requires(self):
                    return task_class()

                def process(self, text):
                    return text + "!"

            Shouted.__name__ = f"Shouted{task_class.__name__}"
            return Shouted

        first, second = shouted(Upper)(), shouted(Strict)()
        assert build(first, second, workers=workers).status == Status.SUCCESS
        assert os.path.basename(second.output().path) == "ShoutedStrict"
        assert (texts_of(first)["a"], texts_of(second)["a"]) == ("ALPHA!", "Alpha!")


class TestCopies:
    """luigi.util.copies writes the lines of one file into another, which a directory is not."""

    def make(self):
        @luigi.util.copies(Upper)
        @luisy.directory_output(".txt", engine="serial")
        class Copy(KeptText):
            pass

        return Copy

    def test_the_class_can_be_made_and_asked(self, letters):
        task = self.make()()
        assert str(task) == "Copy()"
        assert task.requires() == Upper()
        assert not task.complete()

    def test_to_run_it_is_an_error_that_says_what_to_do(self, letters):
        task = self.make()()
        seen = collect(type(task), Event.FAILURE)
        assert build(task).status == Status.FAILED

        ((_, _, error),) = seen
        assert isinstance(error, errors.DefinitionError)
        assert repr(task.output().path) in str(error)
        assert "is a directory and cannot be opened" in str(error)
        assert_no_litter(task, Upper())

    def test_the_advice_speaks_of_writing(self, letters):
        with pytest.raises(errors.DefinitionError, match="process"):
            self.make()().run()

    def test_a_class_without_process_fails_when_it_is_instantiated_and_not_before(self):
        @luigi.util.copies(Upper)
        class Bare(luisy.DirectoryTask):
            pass

        with pytest.raises(errors.DefinitionError, match="Bare has no method process"):
            Bare()


class TestDelegates:
    @in_one_and_two
    def test_a_subtask_is_run_as_a_part_of_the_task(self, letters, workers):
        seen = collect(luigi.Task, Event.DEPENDENCY_DISCOVERED)
        assert build(WithSubtask(), workers=workers).status == Status.SUCCESS

        assert texts_of(WithSubtask()) == {"a": "AlphaALPHABETA", "b": "BetaALPHABETA"}
        assert set(seen) == {(Event.DEPENDENCY_DISCOVERED, WithSubtask(), Letters())}
        assert_each_item_was_processed_once("TracedUpper")
        assert_no_litter(WithSubtask(), TracedUpper())

    def test_a_second_time_there_is_nothing_to_do(self, letters):
        build(WithSubtask())
        assert "Did not run any tasks" in build(WithSubtask()).summary_text

    def test_what_a_subtask_requires_the_task_requires(self):
        assert WithSubtask().deps() == [Letters(), Letters()]

    def test_a_class_without_subtasks_is_an_error(self):
        with pytest.raises(AttributeError, match="subtasks"):
            luigi.util.delegates(KeptText)

    def test_luigi_knows_it_under_its_name(self):
        assert Register.get_task_cls("WithSubtask") is WithSubtask
        assert pickle.loads(pickle.dumps(WithSubtask())) is WithSubtask()


class TestExternalize:
    """A task that others make here too, but never in this run."""

    def below(self, external):
        class Below(KeptText):
            def requires(self):
                return external

        return Below()

    def test_a_class(self, letters):
        external = luigi.task.externalize(Upper)
        assert build(self.below(external())).status == Status.MISSING_EXT
        Upper().run()
        assert build(self.below(external())).status == Status.SUCCESS
        assert Register.get_task_cls("Upper") is Upper

    def test_a_task(self, letters):
        external = luigi.task.externalize(Upper())
        assert external == Upper()
        assert build(self.below(external)).status == Status.MISSING_EXT
        assert build(Upper()).status == Status.SUCCESS, "the task itself is as it was"
        assert build(self.below(external)).status == Status.SUCCESS


# -- what is required and is no directory -----------------------------------------------------------------------------
#
# Paraphrased: mock_test MockFileTest.test_1 (a target that lies in memory can be read by who requires it); task_test is
# about parameters alone. The other tests of mock_test hold of the mock file system alone.


@pytest.fixture
def files_in_memory():
    """Luigi's mock file system lives in a process of its own, which ends when nobody holds it."""
    yield MockFileSystem()
    MockFileSystem._data = None
    gc.collect()


class ModelInMemory(luigi.Task):
    """Makes a target that lies in memory."""

    text = luigi.Parameter(default="!", significant=False)

    def output(self):
        return MockTarget("model")

    def run(self):
        with self.output().open("w") as file:
            file.write(self.text)


class WithModelInMemory(KeptText):
    def requires(self):
        return [Letters(), ModelInMemory()]

    def setup(self):
        with self.input()[1].open() as file:
            self.mark = file.read()

    def process(self, text):
        return text + self.mark


class TestOtherRequirements:
    @in_one_and_two
    @pytest.mark.parametrize("engine", ["serial", "threads", "async"])
    def test_a_target_in_memory_is_not_joined_and_can_be_read_in_setup(
        self, letters, files_in_memory, monkeypatch, engine, workers
    ):
        """Processes that are spawned have a mock file system of their own, and so are left out here."""
        monkeypatch.setattr(WithModelInMemory, "engine", engine)
        assert build(WithModelInMemory(), workers=workers).status == Status.SUCCESS
        assert texts_of(WithModelInMemory()) == {"a": "Alpha!", "b": "Beta!"}
        assert WithModelInMemory().complete()

    def test_that_it_cannot_be_looked_into_is_said_once(self, letters, files_in_memory, caplog):
        class WithOtherModel(WithModelInMemory):
            pass

        for _ in range(2):
            build(WithOtherModel())
            WithOtherModel().output().remove()
        told = [record for record in caplog.records if "cannot be looked into" in record.message]
        assert [record.levelname for record in told] == ["WARNING"]
        assert told[0].message.startswith("WithOtherModel: ")
        assert "is used by targets." in told[0].message

    def test_a_path_in_another_file_system_is_not_looked_up_on_this_one(self, letters, files_in_memory, working_dir):
        (working_dir / "model").write_text("a file that happens to have the same path")

        class SamePath(ModelInMemory):
            def output(self):
                return MockTarget(str(working_dir / "model"))

        class WithSamePath(WithModelInMemory):
            def requires(self):
                return [Letters(), SamePath()]

        build(WithSamePath())
        (working_dir / "model").write_text("it changes")
        assert WithSamePath().complete()

    def test_a_wrapper_task_is_waited_for_and_not_joined(self, letters):
        class All(luigi.WrapperTask):
            def requires(self):
                return [TracedUpper(), Strict()]

        class AfterAll(KeptText):
            def requires(self):
                return Letters(), All()

        assert build(AfterAll()).status == Status.SUCCESS
        assert TracedUpper().complete()
        assert texts_of(AfterAll()) == {"a": "Alpha", "b": "Beta"}

    def test_requirements_may_be_yielded(self, letters):
        class Yielding(KeptText):
            def requires(self):
                yield Upper()
                yield Strict()

            def process(self, upper, strict):
                return upper + strict

        assert build(Yielding()).status == Status.SUCCESS
        assert texts_of(Yielding()) == {"a": "ALPHAAlpha", "b": "BETABeta"}

    def test_lists_in_a_dictionary_are_refused_with_advice(self, letters):
        """Luigi takes any nest of lists and dictionaries; what a join of it would be nobody can say."""

        class Nested(KeptText):
            def requires(self):
                return {"text": Letters(), "others": [Upper(), Strict()]}

        with pytest.raises(errors.DefinitionError, match="for 'others', which is no task"):
            Nested().run()


# -- targets ----------------------------------------------------------------------------------------------------------
#
# Paraphrased: target_test FileSystemTargetTestMixin.test_move_on_fs, .test_rename_dont_move_on_fs;
# TemporaryPathTest.test_temporary_path_directory, .test_temporary_path_files (refused: a task stages its files itself);
# local_target_test LocalTargetTest.test_exists, .test_pathlib, .test_move, .test_copy, .test_move_across_filesystems
# (refused: it would not be one act), FileSystemTest.test_exists, .test_move_to_new_dir, .test_listdir,
# LocalTargetRelativeTest (as far as a path is read, moved and removed).
# Do not apply: FileSystemTargetTestMixin.test_atomicity, .test_with_exception, .test_write_cleanup_no_close and all
# others that open a target, with LocalTargetTest on formats, and TmpFileTest, DestructorTest: a directory is no stream,
# and its manifest is written by no target (tests/test_transaction.py, tests/test_storage.py). TemporaryPathTest
# .test_creates_dir_*, .test_windowsish_dir, .test_hadoopish_dir: there is no temporary path. contrib s3_test, gcs_test:
# directories on object stores are not offered.


def tree(folder):
    """Everything below a folder, with what tells whether it changed."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            found[os.path.relpath(path, folder)] = status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode
    return found


@pytest.fixture
def other_file_system(working_dir):
    """A folder on another file system than that of the tests."""
    here = os.stat(working_dir).st_dev
    others = [folder for folder in ("/dev/shm", "/var/tmp") if os.path.isdir(folder) and os.stat(folder).st_dev != here]
    if not others:
        pytest.skip("there is no other file system here")
    with tempfile.TemporaryDirectory(dir=others[0], prefix="luisy_dir-") as folder:
        yield folder


class TestTargets:
    def test_both_kinds_of_directory_are_targets_in_a_file_system(self):
        for target in (Upper().output(), Letters().output()):
            assert isinstance(target, FileSystemTarget)
            assert not target.exists()
            assert not target.fs.exists(target.path)

    def test_a_path_may_be_any_kind_of_path(self, letters):
        Upper().run()
        path = pathlib.Path(Upper().output().path)
        assert DirectoryTarget(path, Upper().format).exists()
        assert list(RawDirectoryTarget(pathlib.Path(letters), read_text).read()) == ["Alpha", "Beta"]

    def test_a_name_with_wildcards_is_a_name_like_any_other(self, write_files, caplog):
        """Luigi warns of [, * and ? in a path; here warnings are errors."""

        @luisy.make_directory_output(read_text)
        @luisy.raw
        class Odd(luisy.ExternalTask):
            def get_folder_name(self):
                return "scan [1]*?"

        @luisy.requires(Odd)
        class OddToo(KeptText):
            def get_folder_name(self):
                return "result [1]*?"

        write_files(Odd().output().path, {"a[1].txt": b"alpha", "*.txt": b"beta"})
        assert build(OddToo()).status == Status.SUCCESS
        assert texts_of(OddToo()) == {"a[1]": "alpha", "*": "beta"}
        assert "wildcard" not in caplog.text

    def test_remove_takes_the_directory_and_nothing_beside_it(self, letters):
        TracedUpper().run()
        TracedLower().run()
        before = tree(TracedLower().output().path)
        TracedUpper().output().remove()
        assert os.listdir(TracedUpper().get_outdir()) == ["TracedLower"]
        assert tree(TracedLower().output().path) == before

    @pytest.mark.parametrize("verb", ["move", "rename"])
    def test_a_move_changes_the_name_and_nothing_else(self, letters, working_dir, verb):
        Upper().run()
        target, elsewhere = Upper().output(), str(working_dir / "new" / "folder" / "moved")
        before = tree(target.path)
        getattr(target, verb)(elsewhere)

        assert not target.exists()
        assert tree(elsewhere) == before
        assert list(DirectoryTarget(elsewhere, Upper().format).read()) == ["ALPHA", "BETA"]
        assert os.listdir(working_dir / "new" / "folder") == ["moved"]
        assert_no_litter(Upper())

    @pytest.mark.parametrize("verb", ["move", "rename"])
    @pytest.mark.parametrize("kind", ["file", "folder", "empty folder", "link that leads nowhere"])
    def test_a_move_replaces_nothing(self, letters, working_dir, kind, verb):
        Upper().run()
        there = working_dir / "there"
        if kind == "file":
            there.write_text("mine")
        elif kind == "link that leads nowhere":
            there.symlink_to("nowhere")
        else:
            there.mkdir()
            if kind == "folder":
                (there / "mine").write_text("mine")
        before = tree(Upper().output().path), os.lstat(there), tree(there)

        for options in ({}, {"raise_if_exists": False}):
            with pytest.raises(errors.ForeignDirectoryError, match="something lies there"):
                getattr(Upper().output(), verb)(str(there), **options)
        assert (tree(Upper().output().path), os.lstat(there), tree(there)) == before
        assert Upper().complete()

    def test_a_move_to_another_file_system_is_refused_with_advice(self, letters, other_file_system):
        """It would be a copy and a removal, and not one act."""
        Upper().run()
        before = tree(Upper().output().path)
        with pytest.raises(errors.StorageError, match="cp -a"):
            Upper().output().move(os.path.join(other_file_system, "moved"))
        assert os.listdir(other_file_system) == []
        assert tree(Upper().output().path) == before
        assert Upper().complete()

    def test_what_was_not_published_cannot_be_moved(self, working_dir):
        with pytest.raises(errors.MissingInputError, match="Nothing was published"):
            Upper().output().move(str(working_dir / "moved"))

    def test_a_directory_is_no_stream_and_has_no_temporary_path(self, letters):
        Upper().run()
        target = Upper().output()
        for call in (target.open, lambda: target.open("w"), target.temporary_path, lambda: target.copy("elsewhere")):
            with pytest.raises(errors.DefinitionError, match=r"Use read|process|cp -a"):
                call()

    def test_a_raw_folder_refuses_whatever_would_change_it(self, letters, working_dir):
        target, before = Letters().output(), tree(letters)
        elsewhere = str(working_dir / "elsewhere")
        for call in (target.remove, target.clean, lambda: target.move(elsewhere), lambda: target.rename(elsewhere)):
            with pytest.raises(errors.ForeignDirectoryError, match="never removes or changes"):
                call()
        for call in (target.open, lambda: target.open("w"), target.temporary_path):
            with pytest.raises(errors.DefinitionError, match=r"Use read|process"):
                call()
        with pytest.raises(errors.ForeignDirectoryError):
            Letters().write("text")
        assert tree(letters) == before
        assert not os.path.exists(elsewhere)

    def test_a_relative_path_is_read_and_moved(self, letters, monkeypatch):
        Upper().run()
        monkeypatch.chdir(Upper().get_outdir())
        target = DirectoryTarget("Upper", Upper().format)
        assert list(target.read()) == ["ALPHA", "BETA"]
        target.move("moved")
        assert os.listdir() == ["moved"]

    def test_a_relative_path_is_removed(self, letters, monkeypatch):
        Upper().run()
        monkeypatch.chdir(Upper().get_outdir())
        DirectoryTarget("Upper", Upper().format).remove()
        assert os.listdir() == []

    def test_a_path_that_ends_with_a_slash_is_removed(self, letters):
        Upper().run()
        DirectoryTarget(Upper().output().path + "/", Upper().format).remove()
        assert not Upper().output().exists()

    def test_a_folder_name_that_ends_with_a_slash_is_a_name_like_any_other(self, letters):
        @luisy.requires(Letters)
        class Slashed(KeptText):
            def get_folder_name(self):
                return "slashed/"

        assert build(Slashed()).status == Status.SUCCESS
        assert texts_of(Slashed()) == {"a": "Alpha", "b": "Beta"}


class TestTools:
    """luigi-deps and luigi-deps-tree show what a pipeline would do."""

    @pytest.mark.parametrize(
        "by",
        [
            "environment",
            pytest.param(
                "flag",
                marks=pytest.mark.xfail(
                    strict=True, reason="luigi-deps asks for outputs when Luigi has forgotten the command line"
                ),
            ),
        ],
    )
    def test_luigi_deps_names_the_output_of_every_task(self, run_luigi, working_dir, monkeypatch, by):
        if by == "environment":
            monkeypatch.setenv("LUISY_DIR_WORKING_DIR", str(working_dir))
        answer = run_luigi("BothCases", script="luigi-deps")
        assert answer.returncode == 0, answer.stderr
        for task in (BothCases(), TracedUpper(), TracedLower(), Letters()):
            assert f"TASK: {task}\n                       : [FileSystem] {task.output().path}\n" in answer.stdout

    def test_luigi_deps_tree_says_what_is_complete(self, letters, run_luigi):
        TracedUpper().run()
        answer = run_luigi("BothCases", script="luigi-deps-tree")
        assert answer.returncode == 0, answer.stderr
        said = {}
        for line in answer.stdout.splitlines():
            if "[" in line:
                name = line.split("[", 1)[1].split("-", 1)[0]
                said[name] = "COMPLETE" if "COMPLETE" in line else "PENDING"
        assert said == {
            "BothCases": "PENDING", "TracedUpper": "COMPLETE", "TracedLower": "PENDING", "Letters": "COMPLETE",
        }  # fmt: skip
        assert traces() == ["process TracedUpper a", "process TracedUpper b"], "it has run something"


# -- what others make -------------------------------------------------------------------------------------------------
#
# Paraphrased: worker_external_task_test WorkerExternalTaskTest.test_external_dependency_already_complete,
# .test_external_dependency_gets_rechecked, .test_external_dependency_worker_is_patient,
# .test_external_dependency_bare; worker_test WorkerTest.test_external_dep.
# Does not apply: .test_external_task_complete_but_missing_dep_at_runtime: an external task here requires nothing.


def arrive_at_the_third_look(write_files):
    """The raw folder of the letters appears when Luigi asks for it the third time."""

    @Letters.event_handler(Event.START)
    def look(task):
        trace("look")
        if traces().count("look") == 3:
            write_files(Letters().output().path, {"a.txt": b"late"})


class TestExternalTasks:
    def test_what_is_there_is_not_waited_for(self, letters):
        seen = collect(Letters, Event.START)
        assert build(Upper()).status == Status.SUCCESS
        assert seen == []

    def test_without_patience_a_missing_folder_ends_the_run(self, write_files):
        arrive_at_the_third_look(write_files)
        assert build(Upper()).status == Status.MISSING_EXT
        assert not os.path.exists(Upper().get_outdir())

    @in_one_and_two
    def test_with_retry_external_tasks_a_folder_may_come_later(self, write_files, patient, configure, caplog, workers):
        configure(worker={"retry_external_tasks": "true"})
        arrive_at_the_third_look(write_files)
        answer = build(length(), workers=workers)

        assert answer.worker.run_succeeded is False, "Luigi counts every look as a failure"
        assert texts_of(length()) == {"a": 4}
        assert answer.status == Status.SUCCESS_WITH_RETRY
        assert caplog.text.count("is not there") == 1

    def test_a_worker_may_be_told_by_itself(self, write_files):
        arrive_at_the_third_look(write_files)
        options = {"retry_external_tasks": True, "keep_alive": True, "wait_interval": 0.02, "wait_jitter": 0}
        with Worker(scheduler=Scheduler(retry_delay=0.02, prune_on_get_work=True), **options) as worker:
            worker.add(Upper())
            worker.run()
        assert texts_of(Upper()) == {"a": "LATE"}


# -- what Luigi says in the end ---------------------------------------------------------------------------------------
#
# Paraphrased: execution_summary_test ExecutionSummaryTest.test_all_statuses, .test_check_complete_error,
# .test_deps_error, .test_upstream_not_running, .test_happy_smiley_face_normal, .test_sad_smiley_face,
# .test_neutral_smiley_face, .test_did_not_run_any_tasks, .test_with_dates, .test_already_running; retcodes_test
# RetcodesTest.test_task_failed and .test_missing_data (in tests/test_luigi.py), .test_when_locked,
# .test_failure_in_complete, .test_failure_in_requires, .test_task_limit, .test_unhandled_exception,
# .test_when_mixed_errors; worker_test TaskLimitTest.test_task_limit_exceeded.
# Do not apply: the other tests of summaries: how Luigi prints parameters; test_somebody_else_*, test_unknown_reason:
# the scheduler alone.


class Sometimes(Daily):
    """Fails on Fridays."""

    def process(self, text, item):
        if text == "Friday":
            raise ValueError(text)
        return text


class SometimesWrong(Upper):
    """Cannot say whether it is complete, once there is something to ask about."""

    freshness = "perhaps"


class TestStatuses:
    def test_each_way_to_end_has_its_status(self, letters, configure):
        Upper().run()
        SometimesWrong().run()
        for tasks, status in (
            ([Upper(), TracedUpper()], Status.SUCCESS),
            ([FailingAlways()], Status.FAILED),
            ([Daily(DAYS[0])], Status.MISSING_EXT),
            ([SometimesWrong()], Status.SCHEDULING_FAILED),
            ([SometimesWrong(), FailingAlways()], Status.FAILED_AND_SCHEDULING_FAILED),
            ([FailingAlways(), Daily(DAYS[0])], Status.FAILED),
        ):
            answer = build(*tasks)
            assert answer.status == status
            assert answer.one_line_summary == "This progress looks {} because {}".format(*status.value)

    def test_the_summary_names_what_was_done_and_what_was_not(self, days):
        """The first of May 2024 was a Wednesday."""
        Sometimes(days[0]).run()
        fifth = dt.date(2024, 5, 5)

        class Week(luisy.WrapperTask):
            def requires(self):
                return [Sometimes(day) for day in [*days, fifth]]

        summary = build(Week()).summary_text
        said = summary.partition("Scheduled 10 tasks of which:\n")[2].partition("\n\n")[0].splitlines()
        assert said == [
            "* 4 complete ones were encountered:",
            "    - 3 DayFiles(day=2024-05-02,2024-05-03,2024-05-04)",
            "    - 1 Sometimes(day=2024-05-01, mark=)",
            "* 2 ran successfully:",
            "    - 2 Sometimes(day=2024-05-02, mark=) and Sometimes(day=2024-05-04, mark=)",
            "* 1 failed:",
            "    - 1 Sometimes(day=2024-05-03, mark=)",
            "* 3 were left pending, among these:",
            "    * 1 were missing external dependencies:",
            "        - 1 DayFiles(day=2024-05-05)",
            "    * 1 had failed dependencies:",
            "        - 1 Week()",
            "    * 2 had missing dependencies:",
            "        - 1 Sometimes(day=2024-05-05, mark=)",
            "        - 1 Week()",
        ]
        assert "This progress looks :( because there were failed tasks" in summary


class TestExitCodes:
    """Those of the shipped luigi.cfg; 0, 20 and 30 by themselves are in tests/test_luigi.py."""

    def test_a_setting_that_is_not_allowed_is_a_scheduling_error(self, letters, run_luigi):
        assert run_luigi("TracedUpper").returncode == 0
        answer = run_luigi("TracedUpper", "--luisy-dir-freshness", "perhaps")
        assert answer.returncode == SCHEDULING_ERROR
        assert "'perhaps', from the flag --luisy-dir-freshness. Allowed: " in answer.stderr

    def test_more_tasks_than_the_worker_may_have_are_a_scheduling_error(self, letters, run_luigi):
        assert run_luigi("BothCases", "--worker-task-limit", "2").returncode == SCHEDULING_ERROR

    def test_a_missing_parameter_is_an_unhandled_error(self, run_luigi):
        answer = run_luigi("Daily")
        assert answer.returncode == UNHANDLED
        assert "requires the 'day' parameter" in answer.stderr

    def test_of_a_failure_and_missing_data_the_larger_code_counts(self, letters, run_luigi):
        assert run_luigi("FailedAndMissing", "--day", "2024-05-01").returncode == TASK_FAILED
        answer = run_luigi("FailedAndMissing", "--day", "2024-05-01", "--retcode-missing-data", "77")
        assert answer.returncode == 77

    def test_a_disabled_task_is_not_run(self, letters, run_luigi):
        assert run_luigi("Disabled").returncode == NOT_RUN

    def test_the_same_command_twice_at_a_time_is_already_running(self, letters, working_dir, waiting):
        lock = ("--lock-pid-dir", str(working_dir / "locks"))
        first = waiting(*lock, lock=True)
        second = waiting(*lock, lock=True)
        assert second.wait(timeout=60) == ALREADY_RUNNING
        trace("go")
        assert first.wait(timeout=60) == 0

    def test_without_luigis_lock_the_directory_itself_is_busy(self, letters, working_dir, waiting):
        first = waiting()
        wait_until(lambda: "began" in traces())
        second = waiting()
        assert second.wait(timeout=60) == TASK_FAILED
        with open(second.log) as log:
            assert "BusyError" in log.read()
        trace("go")
        assert first.wait(timeout=60) == 0
        assert Waiting().complete()


@pytest.fixture
def waiting(working_dir):
    """``waiting()``: start a ``luigi`` that waits in the middle of its work."""
    started = []

    def start(*arguments, **options):
        words, environment = command("Waiting", *arguments, "--luisy-dir-working-dir", str(working_dir), **options)
        path = working_dir / f"luigi-{len(started)}.log"
        with open(path, "w") as log:
            process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        process.log = path
        started.append(process)
        if len(started) == 1:
            wait_until(lambda: "began" in traces())
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


# -- one task, one object ---------------------------------------------------------------------------------------------
#
# Paraphrased: instance_test InstanceTest (all); decorator_test PickleTest.test_pickle (with TestDelegates, above);
# task_serialize_test test_serializable, test_json_serializable, test_task_id_alphanumeric (a round trip through text);
# worker_test WorkerEmailTest.test_complete_return_value (that complete() says True or False).
# Do not apply: instance_wrap_test: a task object as a parameter, of which Luigi warns; visible_parameters_test: see
# tests/test_tasks.py on private values.


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


KINDS = [
    (luigi.Parameter(), "a/b", "a b"),
    (luigi.Parameter(), "x" * 300, "x" * 299 + "y"),
    (luigi.IntParameter(), 1, -1),
    (luigi.FloatParameter(), 1.0, 10.0),
    (luigi.BoolParameter(), True, False),
    (luigi.DateParameter(), dt.date(2024, 5, 1), dt.date(2024, 5, 2)),
    (luigi.DateHourParameter(), dt.datetime(2024, 5, 1, 7), dt.datetime(2024, 5, 1, 8)),  # noqa: DTZ001
    (luigi.MonthParameter(), dt.date(2024, 5, 1), dt.date(2024, 6, 1)),
    (luigi.DateIntervalParameter(), luigi.date_interval.Week(2024, 5), luigi.date_interval.Month(2024, 5)),
    (luigi.TimeDeltaParameter(), dt.timedelta(days=1), dt.timedelta(hours=1)),
    (luigi.ListParameter(), [1, 2], ["1", "2"]),
    (luigi.ListParameter(), ["1_2"], ["1", "2"]),
    (luigi.TupleParameter(), ((1, 2), (3,)), ((1,), (2, 3))),
    (luigi.DictParameter(), {"a": 1}, {"a": 2}),
    (luigi.DictParameter(), {"a": {"b": [1]}}, {"a": {"b": [2]}}),
    (luigi.EnumParameter(enum=Colour), Colour.RED, Colour.GREEN),
    (luigi.EnumListParameter(enum=Colour), (Colour.RED, Colour.GREEN), (Colour.GREEN, Colour.RED)),
    (luigi.ChoiceParameter(choices=["left", "right"]), "left", "right"),
    (luigi.OptionalParameter(), None, "None"),
    (luigi.OptionalIntParameter(), None, 0),
    (luigi.OptionalListParameter(), None, []),
    (luigi.PathParameter(), pathlib.Path("a/b"), pathlib.Path("a_b")),
    (luigi.TaskParameter(), Upper, Strict),
]
each_kind = pytest.mark.parametrize(
    ("kind", "first", "second"), KINDS, ids=[f"{number}-{type(kind[0]).__name__}" for number, kind in enumerate(KINDS)]
)


class TestInstances:
    def test_the_same_parameters_are_the_same_object(self):
        class Listed(KeptText):
            names = luigi.ListParameter(default=[])

        assert Upper() is Upper()
        assert Daily(DAYS[0]) is Daily(day=DAYS[0], mark="")
        assert Daily(DAYS[0]) is not Daily(DAYS[1])
        assert Listed(names=["a", "b"]) is Listed(names=("a", "b"))

    def test_without_luigis_cache_equal_tasks_are_as_good(self, letters):
        tasks = [length(), Upper()]
        Register.clear_instance_cache()
        assert length() is not tasks[0]
        assert length() == tasks[0]
        assert build(*tasks, length()).status == Status.SUCCESS
        assert all(task.complete() for task in (*tasks, length(), Upper()))

    @each_kind
    def test_a_task_can_be_written_as_text_and_copied(self, kind, first, second):
        class Any(KeptText):
            value = kind

        for value in (first, second):
            task = Any(value=value)
            as_text = json.loads(json.dumps(task.to_str_params()))
            assert Any.from_str_params(as_text) == task
            assert copy.deepcopy(task) == task
            assert task.task_id.replace("_", "").isalnum()

    def test_a_task_can_be_pickled(self):
        task = Daily(DAYS[0], mark="!")
        pickled = pickle.dumps(task)
        assert pickle.loads(pickled) is task
        Register.clear_instance_cache()
        assert pickle.loads(pickled) == task

    @in_one_and_two
    def test_a_running_task_can_be_pickled(self, letters, workers):
        assert build(PickledWhileItRuns(), workers=workers).status == Status.SUCCESS
        assert traces() == ["the same: True"]

    def test_complete_answers_true_or_false_and_keeps_nothing_on_the_task(self, letters):
        tasks = [length(), Upper(), Letters()]
        before = [dict(vars(task)) for task in tasks]
        assert [task.complete() for task in tasks] == [False, False, True]
        build(length())
        assert [task.complete() for task in tasks] == [True, True, True]
        lent_by_luigi = {
            "set_tracking_url", "set_status_message", "set_progress_percentage", "decrease_running_resources",
            "scheduler_messages",
        }  # fmt: skip
        for task, then in zip(tasks, before, strict=True):
            assert {name: value for name, value in vars(task).items() if name not in lent_by_luigi} == {
                name: value for name, value in then.items() if name not in lent_by_luigi
            }

    @in_one_and_two
    def test_the_same_object_may_be_built_again_and_again(self, letters, write_files, workers):
        task = length()
        for text in (b"one", b"fifteen"):
            write_files(letters, {"a.txt": text})
            assert not task.complete()
            assert build(task, workers=workers).status == Status.SUCCESS
            assert texts_of(task)["a"] == len(text)
            for made in (task, Upper()):
                made.output().remove()


# -- families, parameters and places ----------------------------------------------------------------------------------
#
# Paraphrased: util_test BasicsTest.test_task_ids_using_inherits (namespaces); auto_namespace_test MyNamespaceTest
# .test_auto_namespace_scope; worker_test MultipleWorkersTest.test_multiple_workers (classes made in a function);
# worker_test WorkerTest.test_run_csv_batch_job, .test_run_max_batch_job, .test_run_batch_job_unbatched,
# .test_run_batch_job_limit_batch_size; execution_summary_test ExecutionSummaryTest.test_batch_complete.
# Do not apply: WorkerTest.test_fail_max_batch_job, .test_gracefully_handle_batch_method_failure and
# .test_post_error_message_for_failed_batch_methods: they hold of the worker alone.


class TestPlaces:
    @each_kind
    def test_two_values_of_a_parameter_never_share_a_directory(self, kind, first, second):
        class Any(KeptText):
            value = kind

        one, other = Any(value=first), Any(value=second)
        assert one.output().path != other.output().path
        for task in (one, other):
            path = task.output().path
            assert os.path.dirname(path) == task.get_outdir()
            assert len(os.fsencode(os.path.basename(path))) <= 255
            assert Any.from_str_params(task.to_str_params()).output().path == path

    @in_one_and_two
    def test_results_of_two_values_do_not_mix(self, letters, workers):
        class Marked(Upper):
            marks = luigi.DictParameter()

            def process(self, text):
                return text + self.marks["a"]

        one, other = Marked(marks={"a": "!"}), Marked(marks={"a": "?"})
        assert build(one, other, workers=workers).status == Status.SUCCESS
        assert (texts_of(one)["a"], texts_of(other)["a"]) == ("Alpha!", "Alpha?")

    def test_an_insignificant_parameter_is_no_part_of_the_place(self, letters):
        class Commented(Upper):
            comment = luigi.Parameter(default="", significant=False)

        assert build(Commented(comment="one")).status == Status.SUCCESS
        assert Commented(comment="other").complete()

    def test_a_namespace_is_part_of_the_place(self, letters):
        class InSpace(Upper):
            task_namespace = "outer.space"

        luigi.namespace("whole.module", scope=__name__)
        try:

            class InModule(Upper):
                pass

        finally:
            luigi.namespace(scope=__name__)
        luigi.auto_namespace(scope=__name__)
        try:

            class InAuto(Upper):
                pass

        finally:
            luigi.namespace(scope=__name__)

        names = [os.path.basename(task().output().path) for task in (InSpace, InModule, InAuto)]
        assert names == ["outer.space.InSpace", "whole.module.InModule", f"{__name__}.InAuto"]
        assert build(InSpace(), InModule(), InAuto()).status == Status.SUCCESS
        assert InModule().output().manifest().record.task == "whole.module.InModule"

    def test_a_class_in_a_namespace_runs_from_the_command_line(self, letters, run_luigi):
        answer = run_luigi("birds.Robin")
        assert answer.returncode == 0, answer.stderr
        assert texts_of(Robin()) == {"a": "robin Alpha", "b": "robin Beta"}

    @in_one_and_two
    @on_each_engine
    def test_a_class_may_be_made_in_a_function(self, letters, engine, workers):
        mark = "!"

        class Local(Upper):
            def process(self, text):
                return text + mark

        Local.engine = engine
        assert build(Local(), workers=workers).status == Status.SUCCESS
        assert texts_of(Local()) == {"a": "Alpha!", "b": "Beta!"}

    def test_a_base_class_need_not_be_finished(self, letters):
        class Base(luisy.DirectoryTask):
            mark = luigi.Parameter(default="!")

            def requires(self):
                return Letters()

        @luisy.directory_output(".txt", engine="serial")
        class Finished(Base):
            def process(self, text):
                return text + self.mark

        assert build(Finished(mark="?")).status == Status.SUCCESS
        assert texts_of(Finished(mark="?")) == {"a": "Alpha?", "b": "Beta?"}


class TestBatches:
    """Luigi may hand one task the parameters of several, and then calls them all done; complete() says the truth."""

    def test_a_single_task_is_as_ever(self, letters):
        class Batched(Upper):
            number = luigi.IntParameter(batch_method=max)

        assert build(Batched(number=1)).status == Status.SUCCESS
        assert texts_of(Batched(number=1)) == {"a": "ALPHA", "b": "BETA"}

    def test_with_batches_of_one_each_has_its_directory(self, letters):
        class Batched(Upper):
            number = luigi.IntParameter(batch_method=max)
            max_batch_size = 1

        tasks = [Batched(number=number) for number in (1, 2, 3)]
        assert build(*tasks).status == Status.SUCCESS
        assert all(task.complete() for task in tasks)

    @in_one_and_two
    def test_of_a_batch_that_is_published_which_was_run(self, letters, workers):
        class Batched(Upper):
            number = luigi.IntParameter(batch_method=max)

        tasks = [Batched(number=number) for number in (1, 2, 3)]
        build(*tasks, workers=workers)
        assert [task.complete() for task in tasks] == [False, False, True]
        build(*tasks, workers=workers)
        assert [task.complete() for task in tasks] == [False, True, True]

    def test_names_may_be_joined(self, letters):
        class NamedTogether(Upper):
            name = luigi.Parameter(batch_method=",".join)

            def process(self, text):
                return f"{text} {','.join(sorted(self.name.split(',')))}"

        build(*[NamedTogether(name=name) for name in "abc"])
        (task,) = NamedTogether.get_related_instances()
        assert texts_of(task) == {"a": "Alpha a,b,c", "b": "Beta a,b,c"}


# -- how the worker may be set ----------------------------------------------------------------------------------------
#
# Paraphrased: worker_multiprocess_test SingleWorkerMultiprocessTest.test_force_multiprocessing,
# MultiprocessWorkerTest.test_positive_path, .test_path_with_task_failures; worker_test WorkerTest.test_dep,
# .test_fail, .test_unfulfilled_dep, .test_check_unfulfilled_deps_config, .test_cache_task_completion_config,
# .test_complete_exception and .test_requires_exception (TestEvents, TestStatuses), .test_interleaved_workers; of the
# same file AssistantTest.test_get_work, KeyboardInterruptBehaviorTest (both), MultipleWorkersTest
# .test_stop_worker_kills_subprocesses and WorkerInterruptedTest.test_can_run_luigi_in_thread; all of
# worker_parallel_scheduling_test but those that count processes or raise in requires; worker_task_test WorkerTaskTest
# .test_constructor, TaskProcessTest.test_fail_on_false_complete, .test_fail_on_unfulfilled_dependencies. What
# config_env_test and config_toml_test hold is a matter of tests/test_settings.py.
# Do not apply: simulate_test: a target that asks for a run in each process; WorkerTest.test_die_for_non_unique_pending,
# .test_gets_missed_work, .test_interleaved_workers2 and 3, WorkerPingThreadTests, WorkerDisabledTest, WorkerEmailTest,
# server_test, scheduler_visualisation_test: worker, scheduler and server alone.


class TestWorkers:
    @in_one_and_two
    def test_in_a_diamond_each_task_runs_once(self, letters, run_luigi, workers):
        """What two tasks require is made once for both."""
        answer = run_luigi("BothCases", "--workers", str(workers))
        assert answer.returncode == 0, answer.stderr
        assert_each_item_was_processed_once("TracedUpper", "TracedLower", "BothCases")
        assert texts_of(BothCases()) == {"a": ["ALPHA", "alpha"], "b": ["BETA", "beta"]}
        assert {record.generation for record in records_of(BothCases(), TracedUpper(), TracedLower())} == {1}
        assert_no_litter(BothCases(), TracedUpper(), TracedLower())

    @in_one_and_two
    def test_one_failure_leaves_the_others_done(self, letters, workers):
        class AfterFailure(KeptText):
            def requires(self):
                return FailingAlways()

        answer = build(AfterFailure(), TracedUpper(), Strict(), workers=workers)
        assert answer.status == Status.FAILED
        assert TracedUpper().complete()
        assert Strict().complete()
        assert not os.path.exists(AfterFailure().output().path)

    def test_one_worker_may_be_forced_into_a_process_of_its_own(self, letters, configure):
        configure(worker={"force_multiprocessing": "true"})

        @TracedUpper.event_handler(Event.START)
        def tell(task):
            trace(f"in {os.getpid()}")

        assert build(TracedUpper()).status == Status.SUCCESS
        told = [line for line in traces() if line.startswith("in ")]
        assert len(told) == 1
        assert told != [f"in {os.getpid()}"]

    @pytest.mark.parametrize("cached", ["true", "false"])
    @in_one_and_two
    def test_luigi_may_remember_what_is_complete(self, letters, configure, cached, workers):
        configure(worker={"cache_task_completion": cached})
        assert build(AfterTwoMore(), BothCases(), workers=workers).status == Status.SUCCESS
        assert_each_item_was_processed_once("TracedUpper", "TracedLower", "AfterTwoMore", "BothCases")

    @pytest.mark.parametrize("on_run", ["true", "false"])
    def test_a_run_that_publishes_nothing_is_found_out_where_luigi_looks(self, letters, configure, on_run):
        """The shipped luigi.cfg makes Luigi look."""

        class Lazy(Upper):
            def run(self):
                pass

        configure(worker={"check_complete_on_run": on_run})
        assert build(Lazy()).status == (Status.FAILED if on_run == "true" else Status.SUCCESS)
        assert not Lazy().complete()

    @pytest.mark.parametrize("checked", ["true", "false"])
    def test_what_it_requires_may_vanish_before_its_turn(self, letters, configure, checked):
        """Luigi makes it once more where it looks; else the task itself says what is missing."""

        class Removing(KeptText):
            priority = 10

            def requires(self):
                return Letters()

            def run(self):
                super().run()
                Upper().output().remove()

        class After(KeptText):
            def requires(self):
                return {"text": Upper()}

        Upper().run()
        configure(worker={"check_unfulfilled_deps": checked}, scheduler={"stable_done_cooldown_secs": "0"})
        seen = collect(After, Event.FAILURE)
        answer = build(After(), Removing())
        if checked == "true":
            assert texts_of(After()) == {"a": "ALPHA", "b": "BETA"}
        else:
            assert answer.status == Status.FAILED
            ((_, _, error),) = seen
            assert isinstance(error, errors.MissingInputError)
            assert "requires Upper(), which is not complete" in str(error)
            assert not os.path.exists(After().output().path)

    @in_one_and_two
    def test_tasks_may_be_scheduled_by_several_processes(self, letters, workers):
        TracedUpper().run()
        options = {"parallel_scheduling": True, "parallel_scheduling_processes": 2}
        assert build(BothCases(), AfterRanked(rank=1), workers=workers, **options).status == Status.SUCCESS
        assert {"process BothCases a", "process BothCases b", "rank 1"} <= set(traces())
        assert traces().count("process TracedUpper a") == 1

    def test_an_error_of_complete_comes_back_from_the_scheduling_processes(self, letters):
        SometimesWrong().run()
        answer = build(SometimesWrong(), parallel_scheduling=True, parallel_scheduling_processes=2)
        assert answer.status == Status.SCHEDULING_FAILED

    @pytest.mark.parametrize(
        "parallel",
        [False, True],
    )
    def test_what_was_complete_when_it_was_scheduled_stays_so_while_its_folder_grows(self, letters, parallel):
        """Also where a process of its own found it complete."""
        Upper().run()
        answer = build(AfterGrowing(), parallel_scheduling=parallel, parallel_scheduling_processes=2)
        assert answer.status == Status.SUCCESS

    def test_two_workers_of_one_scheduler_share_the_work(self, letters):
        """The second finds done what the first has done."""
        scheduler = Scheduler()
        with Worker(scheduler=scheduler, worker_id="one") as one, Worker(scheduler=scheduler, worker_id="two") as two:
            assert one.add(TracedUpper())
            assert two.add(BothCases())
            assert one.run()
            assert TracedUpper().complete()
            assert two.run()
        assert_each_item_was_processed_once("TracedUpper", "TracedLower", "BothCases")

    def test_an_assistant_loads_tasks_by_name(self, letters):
        scheduler = Scheduler()
        with Worker(scheduler=scheduler, worker_id="one") as one:
            one.add(BothCases())
            Register.clear_instance_cache()
            with Worker(scheduler=scheduler, worker_id="assistant", assistant=True) as assistant:
                assert assistant.run()
        assert_each_item_was_processed_once("TracedUpper", "TracedLower", "BothCases")
        assert BothCases().complete()

    def test_luigi_may_run_in_a_thread(self, letters, configure):
        configure(worker={"no_install_shutdown_handler": "true"})
        answers = []
        thread = threading.Thread(target=lambda: answers.append(build(length()).status))
        thread.start()
        thread.join()
        assert answers == [Status.SUCCESS]

    def test_luigi_run_takes_a_class_and_flags(self, letters):
        words = ["--local-scheduler", "--no-lock", "--luisy-dir-seed", "7"]
        assert luigi.run(words, main_task_cls=Upper, detailed_summary=True).status == Status.SUCCESS
        assert records_of(Upper())[0].parts["seed"] == 7

    @in_one_and_two
    @on_each_engine
    def test_an_interrupt_ends_luigi_and_the_next_run_succeeds(self, letters, reaped, monkeypatch, engine, workers):
        def interrupt():
            wait_until(lambda: "began" in traces())
            os.kill(os.getpid(), signal.SIGINT)
            trace("interrupted")

        monkeypatch.setenv("STARTED_BY_THIS_TEST", mark := os.urandom(8).hex())
        monkeypatch.setattr(Interrupted, "engine", engine)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            build(Interrupted(), workers=workers)
        thread.join()
        wait_until(lambda: not list(processes_at_work(mark)))
        assert not os.path.exists(Interrupted().output().path)
        trace("mended")
        assert build(Interrupted(), workers=workers).status == Status.SUCCESS
        assert_no_litter(Interrupted())

    def test_an_interrupt_while_it_is_scheduled_ends_luigi_too(self, letters):
        class Interrupting(Upper):
            def complete(self):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(Interrupting())

    def test_a_constructor_that_forgets_its_parent_is_an_error(self):
        class Forgetful(Upper):
            def __init__(self):
                pass

        with pytest.raises(TaskException):
            build(Forgetful())


# -- without a worker -------------------------------------------------------------------------------------------------
#
# Paraphrased: task_forwarded_attributes_test TaskForwardedAttributesTest.test_non_yielding_task, .test_yielding_task
# (what the worker lends is taken back); task_progress_percentage_test, task_status_message_test and
# scheduler_message_test are a matter of tests/test_scheduler_page.py.


class TestByHand:
    LENT = ("set_tracking_url", "set_status_message", "set_progress_percentage")

    @pytest.mark.parametrize("task_class", [Upper, AfterTwoMore])
    def test_what_the_worker_lends_is_taken_back(self, letters, task_class):
        build(task_class())
        assert [getattr(task_class(), name) for name in self.LENT] == [None, None, None]

    def test_after_a_build_a_task_may_be_run_by_hand(self, letters):
        build(Upper())
        Upper().output().remove()
        Upper().run()
        assert texts_of(Upper()) == {"a": "ALPHA", "b": "BETA"}

    def test_a_task_may_be_run_in_a_thread(self, letters):
        thread = threading.Thread(target=Upper().run)
        thread.start()
        thread.join()
        assert Upper().complete()

    def test_twice_is_as_good_as_once(self, letters):
        TracedUpper().run()
        before = tree(TracedUpper().output().path)
        TracedUpper().run()
        assert tree(TracedUpper().output().path) == before
        assert_each_item_was_processed_once("TracedUpper")


# -- types ------------------------------------------------------------------------------------------------------------
#
# Paraphrased: mypy_test TestMyMypyPlugin.test_plugin_no_issue, .test_plugin_invalid_arg. The others are about
# parameters of one's own, which a directory task does not touch.


PROGRAM = """
import luigi
import luisy_dir as luisy

def read(path: str) -> str | None:
    return path

@luisy.make_directory_output(read)
@luisy.raw
class Texts(luisy.ExternalTask):
    year: int = luigi.IntParameter()

@luisy.interim
@luisy.requires(Texts)
@luisy.directory_output(".txt")
class Shorter(luisy.DirectoryTask):
    year: int = luigi.IntParameter()
    size: int = luigi.IntParameter(default=10)

    def process(self, text: str) -> str:
        return text[: self.size]

Shorter(year=2024)
Shorter(year=2024, size=5).plan()
Texts(year=2024)
"""


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A folder for what mypy knows of the libraries, which are the same for all programs."""
    return tmp_path_factory.mktemp("known")


class TestTypes:
    """Decorated classes stay typed: the decorators return the class that they are given."""

    def check(self, working_dir, known, program):
        api = pytest.importorskip("mypy.api")
        (working_dir / "program.py").write_text(program)
        (working_dir / "mypy.ini").write_text("[mypy]\nplugins = luigi.mypy\n")
        options = ["--config-file", str(working_dir / "mypy.ini"), "--cache-dir", str(known)]
        said, problems, _ = api.run([*options, "--no-error-summary", str(working_dir / "program.py")])
        assert not problems
        return said

    def test_a_program_in_order_has_no_issue(self, working_dir, known):
        assert self.check(working_dir, known, PROGRAM) == ""

    def test_a_wrong_argument_is_found(self, working_dir, known):
        said = self.check(working_dir, known, PROGRAM + 'Shorter(year="2024", size=5)\n')
        assert 'Argument "year" to "Shorter" has incompatible type "str"; expected "int"' in said
