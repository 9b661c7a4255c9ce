"""A directory task: its directory is processed item by item and published as a whole."""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import multiprocessing
import os
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from concurrent.futures import Executor
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import luigi
import xxhash
from luigi.task import MixinNaiveBulkComplete
from luigi.worker import TaskProcess

from luisy_dir import invocation, settings
from luisy_dir.engines import ENGINES, open_engine, start_workers
from luisy_dir.engines.event_loop import is_async, resolved
from luisy_dir.engines.processes import end_with_parent
from luisy_dir.errors import (
    DefinitionError,
    ForeignDirectoryError,
    ManifestError,
    MissingInputError,
    StaleDirectoryError,
)
from luisy_dir.fingerprint import fingerprint_of, is_opaque, of_byte_code, of_function
from luisy_dir.formats import Format, check_library
from luisy_dir.inputs import Inputs, of_format
from luisy_dir.item import Item
from luisy_dir.keys import check_output_paths
from luisy_dir.manifest import Manifest, published_below, read_manifest
from luisy_dir.plan import Plan, Reason, plan_first_build, plan_update
from luisy_dir.policy import Policy
from luisy_dir.progress import Progress
from luisy_dir.runner import run
from luisy_dir.scheduler_page import SchedulerPage
from luisy_dir.staging import sweep
from luisy_dir.step import Step
from luisy_dir.storage import local
from luisy_dir.targets.directory import DirectoryTarget, RawDirectoryTarget
from luisy_dir.tasks.layers import LayerTask
from luisy_dir.transaction import Facts, Transaction, check_place, entries_in_staging

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("luigi-interface.luisy_dir")

_answers: ContextVar[dict[Hashable, bool] | None] = ContextVar("answers", default=None)
_told_opaque: set[str] = set()
_ADVICE_ON_EMPTY = "Is the path right, and is the disk mounted? Set on_empty = allow if this is meant."


class DirectoryTask(MixinNaiveBulkComplete, LayerTask):
    """A directory that is processed item by item, in parallel, and published as a whole.

    A subclass has a method ``process`` and is decorated with :func:`luisy_dir.directory_output`. Settings such as
    ``engine``, ``workers`` or ``max_errors`` may be class attributes.

    Attributes
    ----------
    version : str
        Counts as part of the code: change it, and every item is stale.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.interim
    ... @luisy.directory_output(".npy")
    ... class Double(luisy.DirectoryTask):
    ...     factor = luigi.IntParameter(default=2)
    ...     def process(self, image):
    ...         return image * self.factor
    >>> Double().output().path.endswith("/interim/Double_factor=2")
    True
    """

    process: ClassVar[Any]  # what a subclass does with one item: process(self, data, …) -> result
    format: ClassVar[Format | None] = None
    version: ClassVar[str] = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        if not callable(getattr(self, "process", None)):
            raise DefinitionError(f"{name} has no method process. Give it process(self, data) that returns the result.")
        if self.format is None:
            raise DefinitionError(
                f"{name} has no format. Decorate it with directory_output('.npy'), or another suffix or Format."
            )

    # -- what a subclass may define -------------------------------------------------------------------------------

    def setup(self) -> Awaitable[None] | None:
        """Prepare a worker; called once in each, on a copy of the task, before its first item."""
        return None

    def get_tracking_url(self) -> str | None:
        """Address that Luigi's page links to while the task runs; without one, that of the engine's dashboard."""
        return None

    # -- what Luigi asks ------------------------------------------------------------------------------------------

    def output(self) -> DirectoryTarget:
        """The directory, published or not."""
        return DirectoryTarget(os.path.join(self.get_outdir(), self.get_folder_name()), self._format)

    def complete(self) -> bool:
        """Whether the published directory equals its inputs, code and parameters, and all it requires is complete."""
        answers = _answers.get()
        if answers is None:  # tasks that are required on several ways are asked once for each question from outside
            token = _answers.set({})
            try:
                return self.complete()
            finally:
                _answers.reset(token)
        asked = type(self), tuple(sorted(self._digests_of_parameters().items()))  # Luigi's == leaves private ones out
        if asked not in answers:
            answers[asked] = self._is_complete()
        return answers[asked]

    def _is_complete(self) -> bool:
        invocation.current()  # notes when Luigi first asked, also where there is nothing to ask about
        manifest = self._manifest()
        if manifest is None or not self._is_mine(manifest):
            return False
        if settings.resolve("freshness", self) == "exists":
            return True
        if not all(task.complete() for task in self.deps()):
            return False
        inputs = self._inputs()
        if manifest.record.fingerprint != fingerprint_of(self._parts(inputs)):
            return False
        if not inputs.recorded_states_equal(manifest.record.inputs):
            return self._equals_inputs(manifest, inputs)
        return invocation.remembered(
            manifest.directory,
            manifest.record.checksum,
            manifest.record.start,
            lambda: self._equals_inputs(manifest, inputs),
        )

    def trigger_event(self, event: str, *args: Any, **kwargs: Any) -> None:
        """As Luigi has it; and where Luigi has found the task complete, keep to that for the whole invocation.

        With parallel scheduling another process has looked, which is no more.
        """
        asking = invocation.current()
        if event == luigi.Event.DEPENDENCY_PRESENT and asking is not None:
            with contextlib.suppress(ManifestError):
                manifest = read_manifest(self.output().path, verify=False)
                if manifest is not None:
                    asking.note(manifest.directory, manifest.record.checksum, is_complete=True, seconds=0.0)
        super().trigger_event(event, *args, **kwargs)

    def run(self) -> None:
        """Process every item and publish the directory; may also be called by hand.

        Raises
        ------
        MissingInputError
            A required task is not complete, or there is no item.
        StaleDirectoryError
            The directory is published but no longer equals its inputs, code or parameters.
        KeyCollisionError
            Two inputs would be written as one output.
        ItemsFailedError
            More items failed than ``max_errors`` allows.
        BusyError
            Another run works on the same directory.
        """
        if isinstance(multiprocessing.current_process(), TaskProcess):
            end_with_parent()
        inputs = self._inputs()
        manifest = self._check_before_work(inputs)
        if manifest is not None:
            self._check_up_to_date(self._plan_update(manifest, inputs))
            sweep(manifest.directory)
            return
        self._check_signature(inputs)
        facts = self._facts(inputs)
        with open_engine(facts.engine, facts.workers) as executor:
            start_workers(executor, facts.workers)  # they load what they need while the folder is scanned
            plan = self._plan_first_build(inputs)
            self._build(plan, inputs, facts, executor)

    # -- what the user may ask ------------------------------------------------------------------------------------

    def read(self) -> Iterator[Any]:
        """Data of each published item, in key order, one at a time."""
        return self.output().read()

    def items(self) -> Iterator[tuple[Item, Any]]:
        """Each published item and its data, in key order, one at a time."""
        return self.output().items()

    def plan(self) -> Plan:
        """What a run would do, item by item, and why; runs nothing and writes nothing.

        Where two raw files have the same key, the reader is asked which of them is meant.

        Raises
        ------
        MissingInputError
            A raw folder is missing, or a required directory was not published yet.
        KeyCollisionError
            Two inputs would be written as one output.
        """
        inputs, manifest = self._inputs(), self._manifest()
        if manifest is None:
            return plan_first_build(inputs.items())
        return self._plan_update(manifest, inputs)

    def report(self) -> pd.DataFrame:
        """One row an item, index ``key``; after a run that did not publish, the rows of that run.

        Returns
        -------
        pandas.DataFrame
            See :func:`luisy_dir.report.frame`.
        """
        from luisy_dir.report import frame

        manifest = read_manifest(self.output().path)
        return frame(entries_in_staging(self.output().path) if manifest is None else manifest.entries())

    @classmethod
    def _results_below(cls, folder: str) -> Iterator[tuple[str, Mapping[str, str] | None]]:
        for path in published_below(folder):
            try:
                manifest = read_manifest(path, verify=False)
            except ManifestError:
                continue
            if manifest is not None and manifest.record.task == cls.get_task_family():
                yield path, manifest.record.parameters

    # -- how it is done -------------------------------------------------------------------------------------------

    @property
    def _format(self) -> Format:
        assert self.format is not None  # noqa: S101 - __init__ has seen to it
        return self.format

    def _inputs(self) -> Inputs:
        return Inputs(self, settings.resolve("seed", self))

    def _manifest(self) -> Manifest | None:
        """The manifest; None with a warning where it is damaged, so that Luigi runs the task, which explains."""
        try:
            return read_manifest(self.output().path)
        except ManifestError as error:
            logger.warning("%s", error)
            return None

    def _is_mine(self, manifest: Manifest) -> bool:
        record = manifest.record
        return (record.task, record.parameters) == (self.get_task_family(), self._public_parameters())

    def _public_parameters(self) -> dict[str, str]:
        parameters: dict[str, str] = self.to_str_params(only_significant=True, only_public=True)
        return parameters

    def _parts(self, inputs: Inputs) -> dict[str, Any]:
        """What makes a result stale, by name."""
        return {
            "parameters": self._digests_of_parameters(),
            "version": str(self.version),
            "seed": settings.resolve("seed", self),
            "process": self._code(),
            "write": of_format(self._format, "write"),
            "names": list(inputs.names),
            "is_named": inputs.is_named,
            **inputs.parts(),
        }

    def _digests_of_parameters(self) -> dict[str, str]:
        """Private values too, which must not be read from a manifest: so all as digests."""
        values = {name: parameter.serialize(getattr(self, name)) for name, parameter in self.get_params()}
        significant = self.get_param_names()
        return {name: xxhash.xxh3_64_hexdigest(str(values[name]).encode()) for name in significant}

    def _functions(self) -> dict[str, Callable[..., Any]]:
        """The user's own functions, by name."""
        methods = {"process": type(self).process, "setup": type(self).setup}
        return {name: method for name, method in methods.items() if method is not DirectoryTask.setup}

    def _code(self) -> dict[str, str]:
        """Fingerprints of the user's own functions."""
        return {name: of_function(function) for name, function in self._functions().items()}

    def _byte_codes(self) -> dict[str, str | None]:
        """What the user's own functions are in this process, to be the same in its workers."""
        return {name: of_byte_code(function) for name, function in self._functions().items()}

    def _check_before_work(self, inputs: Inputs) -> Manifest | None:
        """The manifest of what is published already; an error where a run could not come to a good end."""
        path = self.output().path
        check_library(self._format.suffix)
        if not self.get_folder_name().strip("/"):
            raise DefinitionError(
                f"{self}.get_folder_name() is empty, so that the result would replace the layer folder. Name a folder."
            )
        check_place(path)
        for folder in inputs.folders.values():
            if f"{path}/".startswith(f"{folder}/"):
                raise DefinitionError(
                    f"{self} would publish into {folder!r}, the directory that it reads from. "
                    "Put it into another layer or folder."
                )
        manifest = read_manifest(path)
        self._check_mine(manifest)
        for task in self.deps():
            if not task.complete():
                raise MissingInputError(f"{self} requires {task}, which is not complete. {_advice_on(task)}")
        return manifest

    def _check_mine(self, manifest: Manifest | None) -> None:
        if manifest is not None and not self._is_mine(manifest):
            record = manifest.record
            raise ForeignDirectoryError(
                f"{manifest.directory!r} was published by {record.task} with parameters {record.parameters}, not by "
                f"{self}. Give one of the two another get_folder_name."
            )

    def _check_up_to_date(self, plan: Plan) -> None:
        if not plan.is_complete:
            raise StaleDirectoryError(
                f"{self.output().path!r} is published, but no longer equals its inputs, code or parameters. {plan}\n"
                f"Updating in place is not possible yet: remove the directory with {self}.output().remove() and run "
                "again."
            )
        logger.info("%s: nothing to do. %s", self, plan)

    def _equals_inputs(self, manifest: Manifest, inputs: Inputs) -> bool:
        record, target = manifest.record, self.output()
        start_ns = int(record.start.timestamp() * 1e9)
        if (
            not self._distrust()
            and inputs.surely_equal(record.inputs, start_ns)
            and (not self._outputs_are_checked() or target.outputs_state().hexdigest() == record.outputs_state)
        ):
            return True
        return self._plan_update(manifest, inputs).is_complete

    def _outputs_are_checked(self) -> bool:
        return bool(settings.resolve("check_outputs", self) != "none")

    def _distrust(self) -> set[str]:
        """Of what digests are compared even where size and time of change are as recorded."""
        wanted = {"sources": ("freshness", "content"), "outputs": ("check_outputs", "deep")}
        return {what for what, (name, value) in wanted.items() if settings.resolve(name, self) == value}

    def _plan_update(self, manifest: Manifest, inputs: Inputs) -> Plan:
        return plan_update(
            inputs.items(manifest),
            manifest.entries(),
            outputs=self.output().outputs_on_disk() if self._outputs_are_checked() else None,
            stale=self._why_stale(manifest, inputs),
            digest_of=lambda path: local.digest_of(path)[0],
            output_path=lambda path: os.path.join(manifest.directory, path),
            distrust=self._distrust(),
        )

    def _why_stale(self, manifest: Manifest, inputs: Inputs) -> Reason | None:
        now, then = self._parts(inputs), manifest.record.parts
        if fingerprint_of(now) == manifest.record.fingerprint:
            return None
        different = {name for name in now.keys() | then.keys() if now.get(name) != then.get(name)}
        if different <= {"targets"}:
            return Reason.CHANGED
        return Reason.PARAMS if different <= {"parameters", "seed"} else Reason.CODE

    def _plan_first_build(self, inputs: Inputs) -> Plan:
        plan = plan_first_build(inputs.items())
        if not plan.rows and settings.resolve("on_empty", self) == "error":
            raise MissingInputError(f"{self} has no items: there are none in {inputs}. {_ADVICE_ON_EMPTY}")
        check_output_paths((row.key for row in plan.rows), self._format.suffix)
        return plan

    def _build(self, plan: Plan, inputs: Inputs, facts: Facts, executor: Executor) -> None:
        policy = Policy(settings.resolve("max_errors", self))
        durability = settings.resolve("durability", self)
        begin = partial(self._begin, inputs.names if inputs.is_named else None, self._byte_codes())
        step = Step(inputs.roots(), begin, self._format, facts.parts["seed"], sync=durability == "item")
        news = partial(self.trigger_event, luigi.Event.PROGRESS, self)
        progress = Progress(str(self), len(plan.rows), news)
        with (
            Transaction(self.output().path, facts.fingerprint, durability=durability) as transaction,
            SchedulerPage(self, lambda: (progress.percentage, progress.line()), partial(self._tracking_url, executor)),
            progress,
        ):
            run(plan, step, transaction, executor, policy, workers=facts.workers, on_entry=progress.advance)
            self._check_not_all_skipped(progress, inputs)
            transaction.commit(facts)
        logger.info("%s: published %s as %s", self, progress, self.output().path)

    def _tracking_url(self, executor: Executor) -> str | None:
        return self.get_tracking_url() or getattr(executor, "dashboard_link", None)

    def _check_engine(self, engine: str, inputs: Inputs) -> None:
        """Raise DefinitionError where an ``async def`` would never be awaited."""
        readers = {f"the reader of {name}": target.read_file for name, target in inputs.raw.items()}
        asynchronous = [name for name, function in (self._functions() | readers).items() if is_async(function)]
        if asynchronous and engine in set(ENGINES) - {"async"}:
            raise DefinitionError(
                f"{', '.join(asynchronous)} of {type(self).__name__} is 'async def', which the engine {engine!r} never "
                "awaits. Choose engine='async', or write a plain function."
            )

    def _facts(self, inputs: Inputs) -> Facts:
        parts = self._parts(inputs)
        engine, workers = settings.resolve("engine", self), settings.resolve("workers", self)
        self._check_engine(engine, inputs)
        self._tell_opaque(parts)
        return Facts(
            task=self.get_task_family(),
            parameters=self._public_parameters(),
            layer=self.layer,
            fingerprint=fingerprint_of(parts),
            parts=parts,
            engine=engine,
            workers=1 if engine == "serial" else workers,
            inputs=inputs.recorded_states(),
            raw_roots=tuple(inputs.raw),
        )

    def _tell_opaque(self, parts: dict[str, Any]) -> None:
        """Say once what could not be looked into: a change there makes nothing stale."""
        family = self.get_task_family()
        opaque = sorted(name for name in ("process", "read", "write", "targets") if is_opaque(parts[name]))
        if opaque and family not in _told_opaque:
            _told_opaque.add(family)
            logger.warning(
                "%s: %s use what cannot be looked into, such as an open file. Changes there go unnoticed: change "
                "`version` with them.",
                family,
                ", ".join(opaque),
            )

    def _check_not_all_skipped(self, progress: Progress, inputs: Inputs) -> None:
        if progress.are_all("skipped") and settings.resolve("on_empty", self) == "error":
            raise MissingInputError(
                f"The reader skipped every file in {inputs}, so {self} has no items. Does it look for the right "
                f"suffix? {_ADVICE_ON_EMPTY}"
            )

    # -- what happens in a worker ---------------------------------------------------------------------------------

    def _begin(
        self, names: tuple[str, ...] | None, byte_codes: Mapping[str, str | None]
    ) -> Callable[[list[Any], Item], Any]:
        """Prepare a worker; return what processes an item there, with the data under these names if there are any."""
        for name, byte_code in self._byte_codes().items():
            if None not in {byte_code, byte_codes[name]} and byte_code != byte_codes[name]:
                raise DefinitionError(
                    f"The file that defines {name} of {type(self).__name__} has changed since this program began, so "
                    "that workers would run other code than is recorded. Start again."
                )
        at_work = copy.copy(self)
        resolved(at_work.setup())
        process = at_work.process
        wants_item = self._wants_item()

        def call(data: list[Any], item: Item) -> Any:
            extra = {"item": item} if wants_item else {}
            if names is None:
                return process(*data, **extra)
            return process(**dict(zip(names, data, strict=True)), **extra)

        return call

    def _wants_item(self) -> bool:
        return "item" in inspect.signature(self.process).parameters

    def _check_signature(self, inputs: Inputs) -> None:
        extra = {"item": None} if self._wants_item() else {}
        signature = inspect.signature(self.process)
        try:
            if inputs.is_named:
                signature.bind(**dict.fromkeys(inputs.names), **extra)
            else:
                signature.bind(*inputs.names, **extra)
        except TypeError as error:
            raise DefinitionError(
                f"{type(self).__name__}.process{signature} does not fit what the task requires, "
                f"{', '.join(inputs.names)}: {error}. Give it one argument for each."
            ) from error


def _advice_on(task: luigi.Task) -> str:
    output = task.output()
    if isinstance(output, RawDirectoryTarget):
        return f"Put its files into {output.path!r}, or mend the path."
    return "Run it first."
