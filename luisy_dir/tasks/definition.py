"""A definition: what a directory task does with its items, and with what, as its class and its settings say."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import xxhash

from luisy_dir import settings
from luisy_dir.checking import Checks, ChecksLike, InputChecksLike, by_directory, checks_of, input_checks_of
from luisy_dir.code import Code, Sent, code_of
from luisy_dir.engines import ENGINES, memory_of, open_engine
from luisy_dir.engines.event_loop import is_async
from luisy_dir.errors import DefinitionError
from luisy_dir.fingerprint import fingerprint_of, is_opaque
from luisy_dir.formats import PACK, Format
from luisy_dir.grouping import check_group_by_of
from luisy_dir.inputs import Inputs, functions_of_format, of_format
from luisy_dir.item import Item, printable
from luisy_dir.item_memory import ItemMemory, item_memory_of
from luisy_dir.journal import Origin
from luisy_dir.keys import INNER, check_join
from luisy_dir.policy import ErrorsLike, Policy
from luisy_dir.record import Record
from luisy_dir.roots import seen_from
from luisy_dir.staleness import Ingredients, told_units, versions_of
from luisy_dir.step import Step
from luisy_dir.streams import FunctionsLike, PreLike, Streams
from luisy_dir.tasks.layers import LayerTask
from luisy_dir.tasks.options import OPTIONS, option, streams_of
from luisy_dir.tasks.processing import check_methods, check_same_code, is_batched, prepare
from luisy_dir.terminal import step_aside
from luisy_dir.transaction import Facts

logger = logging.getLogger("luigi-interface.luisy_dir")

_told: set[str] = set()


class DefinedTask(LayerTask):
    """What a directory task does with its items; its attributes are those of :class:`~luisy_dir.DirectoryTask`."""

    if TYPE_CHECKING:
        process: ClassVar[Any]  # what a subclass does with one item: process(self, data, …) -> result
    else:

        @property
        def process(self) -> Any:
            """The first of ``ops``, where the class has them in the place of a method."""
            ops = option(self, "ops")
            if not ops:
                raise AttributeError("process")
            return ops[0]

    process_batch: ClassVar[Any] = None  # or with several: process_batch(self, images, …, items) -> list of results
    format: ClassVar[Format | None] = None
    version: ClassVar[str] = ""
    depends_on: ClassVar[Collection[str]] = ()
    check: ClassVar[ChecksLike] = ()
    check_input: ClassVar[InputChecksLike] = ()
    join: ClassVar[str] = INNER
    group_by: ClassVar[Callable[..., str | None] | None] = None
    catch: ClassVar[ErrorsLike | None] = None
    retry_on: ClassVar[ErrorsLike | None] = None
    ops: ClassVar[FunctionsLike | None] = None
    pre: ClassVar[PreLike | None] = None
    post: ClassVar[FunctionsLike | None] = None
    control: Any = None
    batch_size: Any = None
    item_memory: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        if option(self, "ops") and not self._is_of_ops():
            raise DefinitionError(
                f"{name} has both process and ops, and only one of them can be meant. Remove the other; functions "
                "before and after process are given as pre and post."
            )
        check_methods(self, option(self, "batch_size"))
        if self.format is None:
            raise DefinitionError(
                f"{name} has no format. Decorate it with directory_output('.npy'), or another suffix or Format."
            )
        checks_of(type(self).check, f"check of {name}")
        input_checks_of(type(self).check_input, f"check_input of {name}")
        settings.check_class(type(self))
        check_join(self.join, name)
        check_group_by_of(type(self))
        for option_name in OPTIONS:
            option(self, option_name)

    def setup(self) -> Awaitable[None] | None:
        """Prepare a worker; called once in each, on a copy of the task, before its first item."""
        return None

    @property
    def _format(self) -> Format:
        assert self.format is not None  # noqa: S101 - __init__ has seen to it
        return self.format

    def _inputs(self) -> Inputs:
        return Inputs(self, settings.resolve("seed", self))

    def _public_parameters(self) -> dict[str, str]:
        parameters: dict[str, str] = self.to_str_params(only_significant=True, only_public=True)
        return parameters

    def _parts(self, inputs: Inputs) -> dict[str, Any]:
        """What makes a result stale, by name."""
        return {
            "parameters": self._digests_of_parameters(),
            "version": str(self.version),
            "packages": versions_of(self.depends_on),
            "seed": settings.resolve("seed", self),
            "process": {name: code.digest for name, code in self._codes().items()},
            "write": of_format(self._format, "write"),
            "names": list(inputs.names),
            "is_named": inputs.is_named,
            **({"layout": PACK} if self._format.is_packed else {}),
            **inputs.parts(),
            **self._checks(inputs).parts(),
            **streams_of(self).parts(),
        }

    def _checks(self, inputs: Inputs) -> Checks:
        """What is asked of the data of inputs and outputs."""
        cls = type(self)  # a function that is looked up by the object would be a method
        of_inputs = by_directory(input_checks_of(cls.check_input), inputs.names, cls.__name__)
        return Checks(checks_of(cls.check, "check"), of_inputs)

    def _digests_of_parameters(self) -> dict[str, str]:
        """Private values too, which must not be read from a manifest: so all as digests."""
        significant = ((name, parameter) for name, parameter in self.get_params() if parameter.significant)
        values = {name: str(parameter.serialize(getattr(self, name))) for name, parameter in significant}
        return {name: xxhash.xxh3_64_hexdigest(value.encode()) for name, value in values.items()}

    def _is_of_ops(self) -> bool:
        """Whether ``ops`` stand in the place of a method."""
        return bool(option(self, "ops")) and inspect.getattr_static(self, "process") is vars(DefinedTask)["process"]

    def _functions(self) -> dict[str, Callable[..., Any]]:
        """The user's own functions that are methods of this class, by name."""
        name = "process_batch" if is_batched(self) else "process"
        method = self.process if self._is_of_ops() else getattr(type(self), name)
        methods = {name: method, "setup": type(self).setup}
        return {name: method for name, method in methods.items() if method is not DefinedTask.setup}

    def _begin(
        self,
        names: tuple[str, ...] | None,
        streams: Streams,
        then: Mapping[str, Sent],
        others: Mapping[str, Callable[..., Any]],
    ) -> Callable[[list[Any], Item], Any]:
        """Prepare a worker; return what processes an item there."""
        if settings.resolve("progress", self) != "off":
            step_aside()
        check_same_code(type(self), then, self._functions(), others)
        return prepare(self, names, streams)

    def _codes(self) -> dict[str, Code]:
        """What the user's own functions that process items are and reach, by name."""
        around = {name: code_of(function) for name, function in streams_of(self).functions.items()}
        return {name: code_of(function, owner=type(self)) for name, function in self._functions().items()} | around

    def _ingredients(self, inputs: Inputs) -> Ingredients:
        codes = self._codes() | {name: code_of(function) for name, function in self._other_functions(inputs).items()}
        return Ingredients(self._parts(inputs), told_units(codes.values()))

    def _other_functions(self, inputs: Inputs) -> dict[str, Callable[..., Any]]:
        """The user's own functions that are no methods of this class, by name.

        Checks, those that come before and after ``process``, and those that read and write.
        """
        around = self._checks(inputs).functions | streams_of(self).functions
        return around | inputs.functions() | functions_of_format(self._format, "write")

    def _keeps_earlier_code(self, ingredients: Ingredients, record: Record) -> bool:
        """Whether nothing but code is other than it was, and items that earlier code has made are to be kept."""
        wanted = settings.resolve("on_code_change", self)
        is_kept = wanted != "rerun" and ingredients.differs_in_code_alone(record)
        if is_kept and wanted == "warn":
            self._tell_earlier_code(ingredients, record)
        return is_kept

    def _tell_earlier_code(self, ingredients: Ingredients, record: Record) -> None:
        """Say once of what code the items that are kept were made before it was changed."""
        changes = [f"{change.name} was {change.how}" for change in ingredients.changes_since(record)]
        told = f"{self}: {printable(', '.join(changes))}"
        if told not in _told:
            _told.add(told)
            logger.warning(
                "%s, and what was made before is kept. --luisy-dir-on-code-change rerun makes it anew.", told
            )

    def _workers(self) -> int:
        return 1 if settings.resolve("engine", self) == "serial" else int(settings.resolve("workers", self))

    def _step(
        self, inputs: Inputs, *, seed: int | None = None, sync: bool = False, origin: Origin | None = None
    ) -> Step:
        """What is done with each item."""
        checks = self._checks(inputs)
        others = self._other_functions(inputs)
        codes = self._codes() | {name: code_of(function) for name, function in others.items()}
        then = {name: Sent(replace(code, units={})) for name, code in codes.items()}
        streams = streams_of(self, inputs.names)
        begin = partial(self._begin, inputs.names if inputs.is_named else None, streams, then, others)
        seed = settings.resolve("seed", self) if seed is None else seed
        step = Step(inputs.roots(), begin, self._format, seed, sync=sync, origin=origin, checks=checks)
        size = option(self, "batch_size") or 1
        return replace(step, join=self.join, is_grouped=inputs.is_grouped, batch_size=size)

    def _policy(self) -> Policy:
        """What an error of an item means."""
        return Policy(
            max_errors=settings.resolve("max_errors", self),
            timeout=settings.resolve("timeout", self),
            retries=settings.resolve("retries", self),
            retry_delay=settings.resolve("retry_delay", self),
            catch=(Exception,) if (catch := option(self, "catch")) is None else catch,
            retry_on=option(self, "retry_on"),
        )

    def _memory(self, executor: Executor | None = None) -> ItemMemory | None:
        """How much memory items take, and how much there is; None where the task does not say."""
        usable = None if executor is None else memory_of(executor)
        return item_memory_of(self, settings.resolve("memory", self), usable)

    def _open_engine(self, engine: str, workers: int) -> Executor:
        address = settings.resolve("dask_address", self)
        is_open = engine == "dask" and address and settings.is_auto("workers", self)
        most = None if is_open else workers
        return open_engine(engine, most, timeout=self._policy().timeout, address=address)

    def _check_engine(self, engine: str, inputs: Inputs) -> None:
        """Raise DefinitionError where an ``async def`` would never be awaited."""
        readers = {f"the reader of {name}": target.read_file for name, target in inputs.raw.items()}
        functions = self._functions() | streams_of(self).functions | readers
        asynchronous = [name for name, function in functions.items() if is_async(function)]
        if asynchronous and engine in set(ENGINES) - {"async"}:
            raise DefinitionError(
                f"{', '.join(asynchronous)} of {type(self).__name__} is 'async def', which the engine {engine!r} never "
                "awaits. Choose engine='async', or write a plain function."
            )

    def _facts(self, inputs: Inputs, ingredients: Ingredients) -> Facts:
        parts = dict(ingredients.parts)
        engine = settings.resolve("engine", self)
        self._check_engine(engine, inputs)
        self._tell_opaque(parts)
        return Facts(
            task=self.get_task_family(),
            parameters=self._public_parameters(),
            layer=self.layer,
            fingerprint=fingerprint_of(parts),
            parts=parts,
            engine=engine,
            workers=self._workers(),
            inputs=inputs.recorded_states(),
            raw_roots=tuple(inputs.raw),
            code=ingredients.code,
            roots={name: seen_from(self.output().path, folder) for name, folder in inputs.folders.items()},
        )

    def _tell_opaque(self, parts: dict[str, Any]) -> None:
        """Say once what could not be looked into: a change there makes nothing stale."""
        family = self.get_task_family()
        words = ("process", "read", "write", "targets", "check", "control")
        opaque = sorted(name for name in words if is_opaque(parts.get(name)))
        if opaque and family not in _told:
            _told.add(family)
            logger.warning(
                "%s: what cannot be looked into, such as an open file, is used by %s. Changes there go unnoticed: "
                "change `version` with them.",
                family,
                ", ".join(opaque),
            )
