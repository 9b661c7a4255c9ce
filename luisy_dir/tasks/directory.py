"""A directory task: its directory is processed item by item and published as a whole."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import os
import time
from collections.abc import Hashable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import luigi
from luigi.task import MixinNaiveBulkComplete
from luigi.worker import TaskProcess

from luisy_dir import invocation, settings
from luisy_dir.code import frozen
from luisy_dir.engines import start_workers, width_of
from luisy_dir.engines.child import end_with_parent
from luisy_dir.entry import Entry
from luisy_dir.errors import BusyError, DefinitionError, GenerationError, ManifestError, MissingInputError
from luisy_dir.fingerprint import fingerprint_of, state_sum
from luisy_dir.formats import check_library
from luisy_dir.inputs import Inputs
from luisy_dir.item import Item
from luisy_dir.journal import Origin
from luisy_dir.keys import check_output_paths
from luisy_dir.manifest import Manifest, published_below, read_manifest
from luisy_dir.place import check_place
from luisy_dir.plan import Plan
from luisy_dir.planning import Looks, check_deletions, first_plan, next_plan, vouched_for
from luisy_dir.progress import Progress
from luisy_dir.publication import Owner, Publication, find_publication
from luisy_dir.record import FOLDER, Record, has_pending, is_in_doubt
from luisy_dir.resumption import Resumption, entries_in_staging
from luisy_dir.runner import run
from luisy_dir.scheduler_page import SchedulerPage
from luisy_dir.space import Space
from luisy_dir.staging import staging_of
from luisy_dir.staleness import without_code
from luisy_dir.storage import local
from luisy_dir.targets.directory import DirectoryTarget, RawDirectoryTarget
from luisy_dir.tasks.definition import DefinedTask
from luisy_dir.tasks.layers import check_scratch, scratch_of
from luisy_dir.tasks.options import streams_of
from luisy_dir.tasks.processing import check_signature
from luisy_dir.terminal import Terminal
from luisy_dir.transaction import Facts, Transaction
from luisy_dir.verification import verify

if TYPE_CHECKING:
    import pandas as pd

    from luisy_dir.dataset.directory import DirectoryDataset
    from luisy_dir.recheck import Recheck
    from luisy_dir.replaying import Replayed

logger = logging.getLogger("luigi-interface.luisy_dir")

_answers: ContextVar[dict[Hashable, bool] | None] = ContextVar("answers", default=None)
_ADVICE_ON_EMPTY = "Is the path right, and is the disk mounted? Set on_empty = allow if this is meant."


class DirectoryTask(MixinNaiveBulkComplete, DefinedTask):
    """A directory that is processed item by item, in parallel, and published as a whole.

    A subclass has a method ``process`` and is decorated with :func:`luisy_dir.directory_output`. Settings such as
    ``engine``, ``workers`` or ``max_errors`` may be class attributes.

    Attributes
    ----------
    version : str
        Counts as part of the code: change it, and every item is stale, whatever ``on_code_change`` says.
    depends_on : tuple of str
        Names of installed packages whose version counts as part of the code, such as ``("scikit-image",)``.
    check, check_input : callable, list of callables, or for inputs a dictionary of those by name
        What is asked of the data of each output and input; see :func:`luisy_dir.directory_output`.
    join : str
        What becomes of a key that one of several required directories lacks: it is rejected (``inner``), ``process``
        gets None (``outer``), or nothing is processed at all (``strict``).
    group_by : callable or None
        ``group_by(key) -> group key``: files with the same group key are one item, of which ``process`` gets a list;
        a file for which it returns None is left out. With a first parameter ``self`` it is a method.
    catch : exception class or tuple of them
        Errors that are recorded as the failure of their item; any other ends the run. None, the default, stands for
        ``Exception``.
    retry_on : exception class or tuple of them
        Errors after which an item is tried again, where ``retries`` allows that. None, the default, stands for all that
        are caught.
    ops : function or list of them
        Stand in the place of ``process``: the first is called as that would be, each other with what the one before
        returned, and with ``item`` if it has such an argument.
    pre : function or list of them, or with several directories a dictionary of those by name
        Called one after the other as ``f(data)`` or ``f(data, item)`` with what was read; what the last one returns is
        processed. None rejects the item.
    post : function or list of them
        The same between ``process`` and writing, with the data of each output.
    control : dict
        What ``item.control`` begins with, for all of these; may be a property of the class.
    batch_size : int
        How many items ``process_batch(self, images, items)``, which stands in the place of ``process``, gets at most;
        it returns a list with one result for each.
    item_memory : int, str, callable or None
        Bytes of memory that an item takes while it is in hand, a text such as ``"2 GiB"``, or a function of the
        :class:`~luisy_dir.Item` that returns one of these, with a first parameter ``self`` a method. No more items are
        in hand at the same time than fit into the setting ``memory``. None: as many as there are workers.

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

    # -- what a subclass may define -------------------------------------------------------------------------------

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
            try:
                answers[asked] = self._is_complete()
            except BusyError as error:  # it is not, while a run is just publishing
                logger.info("%s", error)
                return False
        return answers[asked]

    def _is_complete(self) -> bool:
        asking = invocation.current()  # notes when Luigi first asked, also where there is nothing to ask about
        manifest = self._manifest()
        if manifest is None or not self._has_made(manifest.record) or has_pending(manifest.directory):
            return False
        record = manifest.record
        if is_in_doubt(manifest.directory, record):
            logger.info(
                "%r was published with durability = none, and the machine was booted since: %s looks at all outputs.",
                manifest.directory,
                self,
            )
            return False
        if record.pinned:
            return self._is_whole(manifest)
        if settings.resolve("freshness", self) == "exists":
            return True
        if self._is_to_repair(record, asking) or not all(task.complete() for task in self.deps()):
            return False
        return self._is_fresh(manifest)

    def _is_fresh(self, manifest: Manifest) -> bool:
        """Whether a generation equals its inputs, code and parameters, and its outputs are as they were written."""
        record, inputs = manifest.record, self._inputs()
        ingredients = self._ingredients(inputs)
        if ingredients.reason_for(record) is not None and not self._keeps_earlier_code(ingredients, record):
            return False
        if not inputs.recorded_states_equal(record.inputs):
            return self._equals_inputs(manifest, inputs)
        return invocation.remembered(
            manifest.directory, record.checksum, record.start, lambda: self._equals_inputs(manifest, inputs)
        )

    def _is_whole(self, manifest: Manifest) -> bool:
        """Whether the outputs are as the manifest says, whatever has become of the inputs."""
        looks = self._looks(manifest)
        if looks.at_outputs and "outputs" not in looks.distrust:
            return state_sum(self.output().files()).hexdigest() == manifest.record.outputs_state or (
                verify(manifest.directory).is_as_written
            )
        return not looks.at_outputs or verify(manifest.directory, deep=True).is_as_written

    def _is_to_repair(self, record: Record, asking: invocation.Invocation | None) -> bool:
        """Whether an output was found damaged, or the items that failed are to be tried again in this invocation."""
        if record.counts.get("output missing"):
            return True
        is_to_retry = record.counts["failed"] and settings.resolve("retry_failed", self)
        return bool(is_to_retry and (asking is None or record.start < asking.began))

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
        """Process every item that is new, changed or failed before, and publish; may also be called by hand.

        Where nothing is to be done, nothing is written.

        Raises
        ------
        MissingInputError
            A required task is not complete, or there is no item.
        TooManyDeletedError
            More inputs are gone at once than ``max_deleted`` allows.
        KeyCollisionError
            Two inputs would be written as one output.
        UnmatchedKeysError
            Where ``join`` is strict: a required directory lacks a key that another one has.
        ItemsFailedError
            More items failed than ``max_errors`` allows.
        AbortedError
            An item has raised ``Abort``, or an error that ``catch`` leaves out.
        BusyError
            Another run works on the same directory.
        """
        if isinstance(multiprocessing.current_process(), TaskProcess):
            end_with_parent()
        inputs = self._inputs()
        self._check_place(inputs)
        publication = self._publication()
        manifest = publication.manifest
        if manifest is not None and manifest.record.pinned:
            self._keep_pinned(manifest)
            publication.note_verified()
            return
        self._check_required()
        check_signature(self, inputs.names, is_named=inputs.is_named)
        streams_of(self, inputs.names).check_directories(type(self).__name__)
        if manifest is None:
            facts = self._facts(inputs, self._ingredients(inputs))
            with self._open_engine(facts.engine, facts.workers) as executor:
                start_workers(executor)  # they load what they need while the folder is scanned
                self._publish(self._plan_first_build(inputs), inputs, facts, publication, executor)
            return
        plan, inputs = self._plan_to_run(manifest, inputs)
        if plan.is_at_rest:
            logger.info("%s: nothing to do. %s", self, plan)
            publication.note_verified()
            publication.tidy()
            return
        self._tell_note(plan)
        self._check_not_empty(plan, inputs)
        check_deletions(plan, inputs, manifest, settings.resolve("max_deleted", self))
        ingredients = self._ingredients(inputs)
        if plan.keeps_earlier_code:
            ingredients = ingredients.with_earlier_code(manifest.record)
        facts = self._facts(inputs, ingredients)
        workers = min(facts.workers, sum(1 for _ in plan.todo))
        with self._open_engine(facts.engine, workers) if workers else nullcontext() as executor:
            self._publish(plan, inputs, facts, publication, executor)

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
        UnmatchedKeysError
            Where ``join`` is strict: a required directory lacks a key that another one has.
        """
        inputs, manifest = self._inputs(), self._manifest()
        plan = first_plan(inputs, workers=self._workers()) if manifest is None else self._plan_update(manifest, inputs)
        staging = staging_of(self.output().path)
        if not local.exists(staging):
            return plan
        return replace(plan, finished=self._resumption(self._parts(inputs)).finished_keys(staging, plan.todo))

    def replay(self, key: str, *, pdb: bool = False) -> Entry:
        """Process one item alone, in this thread, to see what becomes of it, or to look into what fails.

        What is required is read as it lies there, published by whatever code; outputs go to
        ``<working_dir>/.scratch/replay``. Nothing of what is published or staged is touched.

        Parameters
        ----------
        key
            The item's key.
        pdb
            Where the item fails, enter the debugger in the user's own code, with its variables.

        Returns
        -------
        Entry
            As a run would record it: written, skipped or rejected.

        Raises
        ------
        MissingInputError
            There is no such item; the message names keys that may be meant. Or there is nothing to read.
        Exception
            What was raised as the item was read, processed and written, or in ``setup``.
        """
        from luisy_dir.replaying import debug, of_users_code

        replayed = self.replayed(key)
        if replayed.entry is not None and replayed.exception is None:
            return replayed.entry
        assert replayed.exception is not None  # noqa: S101 - one of the two is there
        if pdb:
            debug(replayed.exception)
        raise replayed.exception.with_traceback(of_users_code(replayed.exception))

    def replayed(self, key: str) -> Replayed:
        """The same as :meth:`replay`, with what the item has raised in the answer."""
        from luisy_dir.replaying import find_item, replay

        check_library(self._format.suffix)
        inputs, engine = self._inputs(), settings.resolve("engine", self)
        self._check_required(but_directories=True)
        check_signature(self, inputs.names, is_named=inputs.is_named)
        self._check_engine(engine, inputs)
        item = find_item(inputs.items(self._manifest(), whole=True), key, inputs.where)
        return replay(self._step(inputs), item, scratch_of(self, "replay"), with_event_loop=engine == "async")

    def report(self) -> pd.DataFrame:
        """One row an item, index ``key``; after a run that did not publish, the rows of that run alone.

        Returns
        -------
        pandas.DataFrame
            See :func:`luisy_dir.report.frame`.
        """
        from luisy_dir.report import frame

        path = self.output().path
        not_published, manifest = entries_in_staging(path), read_manifest(path)
        return frame(not_published if not_published or manifest is None else manifest.entries())

    def dataset(self, suffix: str | None = None) -> DirectoryDataset:
        """Open what was published as a lazy sequence of its data, from the manifest alone.

        Parameters
        ----------
        suffix
            Takes only files with that suffix; None takes all of them.

        Raises
        ------
        MissingInputError
            Nothing was published yet.
        DatasetError
            Two files have the same key.
        """
        return self.output().dataset(suffix)

    def recheck(self, sample: str | float = "1%") -> Recheck:
        """Compute a sample of the published items again, and compare bytes and meta with what is recorded.

        Nothing of what is published, of its manifest and staging is touched. It finds results that depend on more than
        their inputs, code and parameters: on chance, time, order, libraries, files that no task knows of.

        Parameters
        ----------
        sample
            Share of the written items: ``"1%"`` or 0.01. It is always the same sample, and part of each larger one.

        Raises
        ------
        MissingInputError
            Nothing was published yet.
        ForeignDirectoryError
            Another task has published there.
        SettingError
            The sample is no share.
        BusyError
            Another recheck of this task is under way.
        """
        from luisy_dir.recheck import Recheck, fraction_of
        from luisy_dir.rechecking import Rechecking, entries_in_sample

        fraction, manifest, inputs = fraction_of(sample), self.output().manifest(), self._inputs()
        record, path, engine = manifest.record, manifest.directory, settings.resolve("engine", self)
        if engine == "dask":  # a sample is computed here, where its scratch lies
            engine = "processes"
        self._owner().check(path, record)
        check_library(self._format.suffix)
        check_signature(self, inputs.names, is_named=inputs.is_named)
        self._check_engine(engine, inputs)
        changes = [change for change in self._ingredients(inputs).changes_since(record) if change.kind != "seed"]
        entries = entries_in_sample(manifest, fraction)
        with Progress(str(self), len(entries)) as progress:
            rechecking = Rechecking(
                self._step(inputs, seed=record.parts["seed"]),
                scratch_of(self, "recheck"),
                lambda count: self._open_engine(engine, min(self._workers(), count)),
                inputs.item_of,
                self._workers(),
                [change.name for change in changes if change.kind == "targets"],
                progress.advance,
                self._memory(),
            )
            rows = tuple(rechecking.rows(entries, path))
        told = tuple(str(change).partition("\n")[0].rstrip(":") for change in changes if change.kind != "targets")
        equal, written = len(entries) - len(rows), record.counts["written"]
        return Recheck(path, record.generation, fraction, written, equal, rows, told)

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

    def _manifest(self) -> Manifest | None:
        """The manifest; None with a warning where it is damaged, so that Luigi runs the task, which explains."""
        try:
            return read_manifest(self.output().path)
        except ManifestError as error:
            logger.warning("%s", error)
            return None

    def _owner(self) -> Owner:
        return Owner(str(self), self.get_task_family(), self._public_parameters())

    def _has_made(self, record: Record) -> bool:
        """Whether a generation is this task's, and was made of the items that are chosen now."""
        return self._owner().has_made(record) and self._is_of_selection(record)

    def _is_of_selection(self, record: Record) -> bool:
        return bool(record.parts.get("selection", "") == settings.selection(self).name)

    def _publication(self) -> Publication:
        keep, durability = settings.resolve("keep_generations", self), settings.resolve("durability", self)
        return find_publication(self.output().path, self._owner(), keep=keep, sync=durability != "none")

    def _check_place(self, inputs: Inputs) -> None:
        """Raise where a run could not come to a good end."""
        path = self.output().path
        check_library(self._format.suffix)
        if not self.get_folder_name().strip("/"):
            raise DefinitionError(
                f"{self}.get_folder_name() is empty, so that the result would replace the layer folder. Name a folder."
            )
        check_place(path)
        check_scratch(self)
        for folder in inputs.folders.values():
            if f"{path}/".startswith(f"{folder}/"):
                raise DefinitionError(
                    f"{self} would publish into {folder!r}, the directory that it reads from. "
                    "Put it into another layer or folder."
                )

    def _check_required(self, *, but_directories: bool = False) -> None:
        for task in self.deps():
            is_asked = not (but_directories and isinstance(task.output(), DirectoryTarget))
            if is_asked and not task.complete():
                raise MissingInputError(f"{self} requires {task}, which is not complete. {_advice_on(task)}")

    def _keep_pinned(self, manifest: Manifest) -> None:
        """Leave a generation alone that somebody has gone back to."""
        what = f"{self}: generation {manifest.record.generation} of {manifest.directory!r} is pinned"
        release = f"'luisy-dir release {manifest.directory}' lets it be brought up to date."
        if not self._is_whole(manifest):
            raise GenerationError(f"{what}, and not all of its files are as they were written: {release}")
        if not self._is_of_selection(manifest.record):
            raise GenerationError(f"{what}, and was made of other items than are chosen now: {release}")
        logger.info("%s, so that nothing is to be done. %s", what, release)

    def _equals_inputs(self, manifest: Manifest, inputs: Inputs) -> bool:
        begin = time.monotonic()
        plan = self._plan_update(manifest, inputs)
        asking = invocation.current()
        if asking is not None:
            seconds = time.monotonic() - begin
            asking.remember(manifest.directory, manifest.record.checksum, (plan, inputs), seconds=seconds)
        return plan.is_complete

    def _looks(self, manifest: Manifest) -> Looks:
        """How closely this task looks."""
        wanted = {"sources": ("freshness", "content"), "outputs": ("check_outputs", "deep")}
        distrust = {what for what, (name, value) in wanted.items() if settings.resolve(name, self) == value}
        if is_in_doubt(manifest.directory, manifest.record):
            return Looks(distrust=frozenset(distrust | {"outputs"}))
        return Looks(settings.resolve("check_outputs", self) != "none", frozenset(distrust))

    def _plan_to_run(self, manifest: Manifest, inputs: Inputs) -> tuple[Plan, Inputs]:
        """The plan with which Luigi found just now that there is something to do, and the inputs as they were then.

        Else a new one, of the inputs as they are.
        """
        asking = invocation.current()
        found = None if asking is None else asking.recall(manifest.directory, manifest.record.checksum)
        return found or (self._plan_update(manifest, inputs), inputs)

    def _plan_update(self, manifest: Manifest, inputs: Inputs) -> Plan:
        ingredients, record = self._ingredients(inputs), manifest.record
        stale = ingredients.reason_for(record)
        is_kept = stale is not None and self._keeps_earlier_code(ingredients, record)
        looks, workers = self._looks(manifest), self._workers()
        plan = next_plan(
            manifest, inputs, self.output(), stale=None if is_kept else stale, looks=looks, workers=workers
        )
        because = () if stale is None else ingredients.changes_since(record)
        return replace(plan, because=because, keeps_earlier_code=is_kept)

    def _tell_note(self, plan: Plan) -> None:
        if plan.note:
            logger.info("%s: %s", self, plan.note)

    def _check_not_empty(self, plan: Plan, inputs: Inputs) -> None:
        if not plan.item_count and settings.resolve("on_empty", self) == "error":
            left_out = ", or group_by returns None for all of them" if inputs.is_grouped else ""
            raise MissingInputError(f"{self} has no items: there are none in {inputs}{left_out}. {_ADVICE_ON_EMPTY}")

    def _plan_first_build(self, inputs: Inputs) -> Plan:
        plan = first_plan(inputs, workers=self._workers())
        self._tell_note(plan)
        self._check_not_empty(plan, inputs)
        check_output_paths((row.key for row in plan.changes), self._format.suffix)
        return plan

    def _publish(
        self, plan: Plan, inputs: Inputs, facts: Facts, publication: Publication, executor: Executor | None
    ) -> None:
        durability = settings.resolve("durability", self)
        resumption = self._resumption(self._parts(inputs))
        step = self._step(inputs, sync=durability == "item", origin=resumption.origin)
        news = partial(self.trigger_event, luigi.Event.PROGRESS, self)
        progress = Progress(str(self), sum(1 for _ in plan.todo), news, path=publication.path)
        with (
            frozen(),
            publication.transaction(resumption, durability=durability, start=plan.start) as transaction,
            SchedulerPage(self, lambda: (progress.percentage, progress.line()), partial(self._tracking_url, executor)),
            Terminal(progress, show=settings.resolve("progress", self)),
            progress,
        ):
            superseded = publication.superseded(plan.superseded())
            paths = plan.expected_paths(self._format.suffix)
            transaction.check_names(paths, superseded)
            transaction.check_room(paths, superseded, is_guess=True)
            self._resume(transaction, plan, progress)
            if publication.is_damaged:
                self._keep_intact(transaction, plan, progress, facts.fingerprint)
            if executor is not None:
                facts = replace(facts, workers=width_of(executor, facts.workers))
                space = self._space(transaction, plan, publication)
                policy = self._policy()

                def on_entry(entry: Entry) -> None:
                    progress.advance(entry)
                    space.advance(entry)

                memory, workers = self._memory(executor), facts.workers
                run(plan, step, transaction, executor, policy, workers=workers, memory=memory, on_entry=on_entry)
            self._check_not_all_skipped(plan, progress, inputs)
            for entry in plan.touched():
                transaction.keep(entry)
            if self._format.is_packed:
                superseded = transaction.pack(superseded)
            record = transaction.commit(facts, superseded)
        of_others = f", generation {record.generation}; {len(plan.unchanged)} unchanged" if record.parent else ""
        logger.info(
            "%s: published %s as %s%s; %s; manifest in its %s",
            self,
            progress,
            publication.path,
            of_others,
            progress.pace(),
            FOLDER,
        )
        progress.tell_failures()

    def _resumption(self, parts: Mapping[str, Any]) -> Resumption:
        """What may be taken over of an interrupted run."""
        beside_code = {name: part for name, part in without_code(parts).items() if name != "version"}
        origin = Origin(fingerprint_of(parts), fingerprint_of(beside_code))
        return Resumption(origin, settings.resolve("resume", self))

    def _resume(self, transaction: Transaction, plan: Plan, progress: Progress) -> None:
        """Take over what an interrupted run has finished."""
        finished = transaction.resume(plan.todo)
        if finished:
            progress.begin_with(finished)
            logger.info("%s: goes on with a run that was interrupted, which has finished %s", self, progress)

    def _keep_intact(self, transaction: Transaction, plan: Plan, progress: Progress, fingerprint: str) -> None:
        """Where the manifest is damaged, keep what an earlier generation vouches for."""
        items = (item for item in plan.todo if not transaction.is_collected(item.key))
        kept = vouched_for(self.output(), items, fingerprint)
        for entry in kept:
            transaction.keep(entry)
        progress.begin_with(kept)
        if kept:
            logger.info("%s: an earlier generation vouches for %s items, which stay as they are", self, len(kept))

    def _space(self, transaction: Transaction, plan: Plan, publication: Publication) -> Space:
        """Room on the disk, in which what is still to be processed is expected to fit."""
        before = [entry for item, entry in plan.to_process() if not transaction.is_collected(item.key)]
        published = () if publication.manifest is None else publication.manifest.entries()
        space = Space(transaction.run, len(before))
        if settings.resolve("on_no_space", self) == "error":
            space.check(before, itertools.chain(transaction.entries(), published))
        return space

    def _tracking_url(self, executor: Executor | None) -> str | None:
        return self.get_tracking_url() or getattr(executor, "dashboard_link", None)

    def _check_not_all_skipped(self, plan: Plan, progress: Progress, inputs: Inputs) -> None:
        is_all = plan.item_count == sum(1 for _ in plan.todo)
        if is_all and progress.are_all("skipped") and settings.resolve("on_empty", self) == "error":
            raise MissingInputError(
                f"The reader skipped every file in {inputs}, so {self} has no items. Does it look for the right "
                f"suffix? {_ADVICE_ON_EMPTY}"
            )


def _advice_on(task: luigi.Task) -> str:
    output = task.output()
    if isinstance(output, RawDirectoryTarget):
        return f"Put its files into {output.path!r}, or mend the path."
    return "Run it first."
