"""A task that writes one object into one file, and its kin."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from luisy_dir import settings
from luisy_dir.errors import DefinitionError, ForeignDirectoryError, MissingInputError
from luisy_dir.item import Item
from luisy_dir.staging import make_folder
from luisy_dir.targets.directory import RawDirectoryTarget
from luisy_dir.targets.file import LocalTarget, ParquetDirTarget, PickleTarget
from luisy_dir.tasks.layers import LayerTask, check_scratch, name_of

if TYPE_CHECKING:
    import pandas as pd


class Task(LayerTask):
    """A task with a ``run()`` of its own that writes one object into one file; a pickle unless decorated otherwise.

    The file is ``<get_outdir()>/<get_file_name()><suffix>``. The folder is made when ``run()`` begins, so that
    ``run()`` may write further files into it; these it must keep apart itself, which a
    :class:`~luisy_dir.DirectoryTask` does for you.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.final
    ... @luisy.json_output
    ... class Answer(luisy.Task):
    ...     def run(self):
    ...         self.write({"answer": 42})
    >>> Answer().get_outfile().endswith("/final/Answer.json")
    True
    """

    target_cls: ClassVar[type[LocalTarget]] = PickleTarget
    target_kwargs: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        owner = next(base for base in cls.__mro__ if "run" in vars(base))
        run = vars(owner)["run"]
        is_new = owner is cls or not (owner is luigi.Task or issubclass(owner, Task))  # a mixin's, or of its own
        if is_new and inspect.isfunction(run):
            cls.run = _in_its_folder(run)  # type: ignore[method-assign]

    def get_file_name(self) -> str:
        """Name of the file, without suffix: the task family and its significant parameters."""
        return name_of(self)

    def get_outfile(self) -> str:
        """Absolute path of the file; this makes no folder."""
        if issubclass(self.target_cls, ParquetDirTarget):
            name = self.get_folder_name()
            if not name.strip("/") and not isinstance(self, luigi.ExternalTask):
                raise DefinitionError(
                    f"{self}.get_folder_name() is empty, so that the result would be the layer folder. Name a folder."
                )
            return os.path.join(self.get_outdir(), name).rstrip("/")
        suffix = self.target_cls.suffix
        name = self.get_file_name()
        if self._is_named_by_user():  # a name of ours may end with a parameter that is a file name
            name = name.removesuffix(suffix)
        return os.path.join(self.get_outdir(), name + suffix)

    def output(self) -> Any:
        """The file, written or not."""
        sync = settings.resolve("durability", self) != "none"
        return self.target_cls(self.get_outfile(), sync=sync, **self.target_kwargs)

    def read(self) -> Any:
        """The object in the file.

        Raises
        ------
        MissingInputError
            The task is not complete.
        """
        if not self.complete():
            raise MissingInputError(f"{self} is not complete, so that there is nothing to read. Run it first.")
        return self.output().read()

    def write(self, obj: Any) -> None:
        """Write the object; until the last moment readers see the former file, or none.

        Raises
        ------
        BusyError
            Another run is writing the file.
        """
        self.output().write(obj)

    @classmethod
    def _results_below(cls, folder: str) -> Iterator[tuple[str, Mapping[str, str] | None]]:
        if cls._is_named_by_user():
            yield from cls._own_result()
            return
        suffix = cls.target_cls.suffix
        family = re.escape(cls.get_task_family())
        look = re.compile(rf"{family}((?:_\w+?=[A-Za-z0-9.+-]+)*)(-[0-9a-f]{{10}})?{re.escape(suffix)}")
        for parent, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if name[0] != ".")
            for name in folders if issubclass(cls.target_cls, ParquetDirTarget) else names:
                match = look.fullmatch(name)
                if match is not None:
                    path = os.path.join(parent, name)
                    yield path, None if match[2] else _parameters_in(match[1], dict(cls.get_params()))

    @classmethod
    def _is_named_by_user(cls) -> bool:
        if issubclass(cls.target_cls, ParquetDirTarget):
            return cls.get_folder_name is not LayerTask.get_folder_name
        return not cls.get_file_name.__module__.startswith("luisy_dir.")  # auto_filename's names can be read

    @classmethod
    def _own_result(cls) -> Iterator[tuple[str, Mapping[str, str]]]:
        if cls.get_params():
            raise DefinitionError(
                f"The parameters of {cls.__name__} cannot be read off the names that it gives its results itself. "
                f"Make the tasks yourself, such as {cls.__name__}(…), and ask whether they are complete()."
            )
        path = cls().output().path
        if os.path.exists(path):
            yield path, {}


def _parameters_in(text: str, known: Mapping[str, luigi.Parameter[Any]]) -> dict[str, str] | None:
    """Serialised parameters in a name such as ``_size=64_title=all``; None where one is not known."""
    found = dict(re.findall(r"_(\w+?)=([A-Za-z0-9.+-]+)(?=_|\Z)", text))
    if any(name not in known for name in found):
        return None
    return {name: known[name].serialize(None) if value == "None" else value for name, value in found.items()}


def _in_its_folder(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``run``, with the folder of the output made first."""

    @functools.wraps(run)
    def run_in_its_folder(self: Task) -> Any:
        if not isinstance(self, luigi.WrapperTask):
            check_scratch(self)
            make_folder(self.get_outdir())
        return run(self)

    return run_in_its_folder


class ExternalTask(Task, luigi.ExternalTask):
    """Something that others make, and that is only read.

    With :func:`luisy_dir.make_directory_output` it is a raw directory, with an output decorator such as
    :func:`luisy_dir.csv_output` a single file.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.make_directory_output(lambda path: path if path.endswith(".png") else None)
    ... @luisy.raw
    ... class ExportDirectory(luisy.ExternalTask):
    ...     def get_folder_name(self):
    ...         return "images"
    >>> ExportDirectory().output().path.endswith("/raw/images")
    True
    >>> @luisy.csv_output
    ... @luisy.raw
    ... class Labels(luisy.ExternalTask):
    ...     def get_file_name(self):
    ...         return "labels"
    >>> Labels().output().path.endswith("/raw/labels.csv")
    True
    """

    read_file: ClassVar[Callable[[str], Any] | None] = None
    regex_pattern: ClassVar[str | None] = None

    def get_folder_name(self) -> str:
        """Name of the folder below the layer folder; ``''`` is the layer folder itself."""
        raise DefinitionError(
            f"{type(self).__name__} does not say where its files lie. Give it a method get_folder_name(self) that "
            "returns the name of a folder below the layer folder, or '' for the layer folder itself."
        )

    def get_outfile(self) -> str:
        """Absolute path of the folder, or of the file."""
        if type(self).read_file is None:
            return super().get_outfile()
        return os.path.join(self.get_outdir(), self.get_folder_name()).rstrip("/")

    def output(self) -> Any:
        """The folder, or the file."""
        read_file = type(self).read_file
        if read_file is not None:
            return RawDirectoryTarget(self.get_outfile(), read_file, self.regex_pattern)
        if type(self).get_folder_name is not ExternalTask.get_folder_name and self.target_cls is PickleTarget:
            raise DefinitionError(
                f"{type(self).__name__} does not say how its files are read. Decorate it with "
                "make_directory_output(read_file)."
            )
        return super().output()

    def read(self) -> Any:
        """Of a directory what the reader returned for each file, in key order, one at a time; else the object."""
        return self.output().read()

    def items(self) -> Iterator[tuple[Item, Any]]:
        """Each item of a directory and what the reader returned for it, in key order, one at a time."""
        items: Iterator[tuple[Item, Any]] = self.output().items()
        return items

    def write(self, obj: Any) -> None:  # noqa: ARG002 - refused, whatever it is
        """Refuse: what is external is made by others."""
        raise ForeignDirectoryError(
            f"{self} is external: luisy_dir never writes {self.output().path!r}. Derive the task from luisy_dir.Task "
            "if it makes its output itself."
        )

    def clean(self) -> None:
        """Refuse: what is external was not made by us."""
        raise ForeignDirectoryError(
            f"{self} is external: luisy_dir never removes {self.output().path!r}. Remove it yourself if that is meant."
        )


class WrapperTask(LayerTask, luigi.WrapperTask):
    """A task that makes nothing and is complete when all that it requires is."""

    def read(self) -> Any:
        """What the required tasks have made, as :meth:`read_input` says it."""
        return self.read_input()

    def clean(self) -> None:
        """Refuse: there is nothing of its own."""
        raise DefinitionError(f"{self} has no output of its own. Clean the tasks that it requires.")


class ConcatenationTask(Task):
    """A task that puts the frames of all that it requires into one, in the order in which they are required.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.final
    ... @luisy.csv_output
    ... class Everything(luisy.ConcatenationTask):
    ...     def preprocess(self, df):
    ...         return df.drop_duplicates()
    """

    def preprocess(self, df: pd.DataFrame) -> pd.DataFrame:
        """What becomes of the frame before it is written; override this."""
        return df

    def run(self) -> None:
        """Read, concatenate, preprocess and write.

        Raises
        ------
        MissingInputError
            There is no frame at all.
        """
        import pandas as pd

        frames = list(_frames(self.read_input()))
        if not frames:
            raise MissingInputError(f"{self} has nothing to concatenate: what it requires holds no frame.")
        self.write(self.preprocess(pd.concat(frames)))


def _frames(read: Any) -> Iterator[Any]:
    """What was read of required tasks, be they in lists or dictionaries, and of the items of directories."""
    if isinstance(read, Mapping):
        read = read.values()
    elif not isinstance(read, (list, Iterator)):
        yield read
        return
    for part in read:
        yield from _frames(part)
