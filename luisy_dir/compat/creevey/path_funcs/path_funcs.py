"""Names of outputs; a pipeline refuses two inputs that would have the same."""

from __future__ import annotations

import os
import uuid
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from luisy_dir.path_item import has_scheme

PathLike = str | os.PathLike[str]


def join_outdir_filename_extension(path: PathLike, outdir: PathLike, extension: str | None = None) -> Path:
    """The name of the input in another folder, with another suffix where one is given.

    Examples
    --------
    >>> str(join_outdir_filename_extension("https://example.org/cats/1.jpg?size=2", "out", ".png"))
    'out/1.png'
    """
    name = _name(path)
    return Path(outdir) / (name.name if extension is None else name.stem + _suffix(extension))


def combine_outdir_dirname_extension(path: PathLike, outdir: PathLike, extension: str | None = None) -> Path:
    """The name of the folder that the input lies in, in another folder, with the input's suffix or another.

    For inputs that all have the same name, each in a folder of its own.

    Examples
    --------
    >>> str(combine_outdir_dirname_extension("cats/tom/photo.jpg", "out", ".png"))
    'out/tom.png'
    """
    name = _name(path)
    return Path(outdir) / (name.parent.name + (name.suffix if extension is None else _suffix(extension)))


def join_outdir_hashed_path_extension(path: PathLike, outdir: PathLike, extension: str | None = None) -> Path:
    """A name that is made of the whole path, in another folder: a UUID of version 5 of the name space for DNS, in hex.

    Examples
    --------
    >>> join_outdir_hashed_path_extension("a/photo.jpg", "out").suffix
    '.jpg'
    """
    hashed = uuid.uuid5(uuid.NAMESPACE_DNS, os.fspath(path)).hex
    return Path(outdir) / (hashed + (_name(path).suffix if extension is None else _suffix(extension)))


def replace_dir(path: PathLike, outdir: PathLike) -> Path:
    """The name of the input in another folder."""
    return join_outdir_filename_extension(path, outdir)


def _name(path: PathLike) -> PurePosixPath:
    text = os.fspath(path)
    return PurePosixPath(urlsplit(text).path if has_scheme(text) else text)


def _suffix(extension: str) -> str:
    return extension if not extension or extension.startswith(".") else f".{extension}"
