"""Files: images as they lie on a disk or at a URL."""

from __future__ import annotations

import contextlib
import io
import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from luisy_dir import formats
from luisy_dir.errors import ImageError
from luisy_dir.images.pixels import as_image, to_ubyte
from luisy_dir.item import scan
from luisy_dir.storage import local, system
from luisy_dir.web import RETRIES, TIMEOUT_SECONDS, is_url, read_url

if TYPE_CHECKING:
    import numpy.typing as npt
    import tifffile

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0 and BigTIFF, in both orders of bytes
_PLAIN = {1, 2}  # how TIFF 6.0 numbers what is meant by values: from black on, and red, green, blue
_SPELLINGS = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}
_HOLD_FLOATS = {".tif"}
# What Pillow knows by its suffix, but cannot read without other programs, or at all.
_WITHOUT_PIXELS = {"EPS", "MPEG", "PDF"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def load_image(
    path: str | os.PathLike[str], *, timeout: float = TIMEOUT_SECONDS, retries: int = RETRIES
) -> npt.NDArray[Any]:
    """Read an image from a file or a URL, as it was stored: nothing is scaled or turned.

    Parameters
    ----------
    path
        A path, or a URL that begins with ``http://`` or ``https://``. The content says what kind of image it is, and
        not the suffix. Of several images in one file it is the first.
    timeout, retries
        For a URL: see :func:`luisy_dir.web.read_url`.

    Returns
    -------
    numpy.ndarray
        Of shape (rows, columns), or (rows, columns, channels) for grey and alpha, RGB, or RGBA; palettes, CMYK and
        YCbCr become RGB. Its dtype is that of the file: mostly uint8.

    Raises
    ------
    ImageError
        What lies there is no image, or only a part of one, or is empty.
    WebError
        The URL could not be read.
    OSError
        The file could not be read.
    """
    name = os.fspath(path)
    content = read_url(name, timeout=timeout, retries=retries) if is_url(name) else _content_of(name)
    if not content:
        raise ImageError(f"{name!r} is empty, and no image. Fetch or make it again, or leave it out.")
    try:
        return _decoded(content)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything: SyntaxError, struct.error, KeyError
        raise ImageError(
            f"{name!r} could not be read as an image: {type(error).__name__}: {_reason(error)}. It begins with "
            f"{content[:16]!r}. Look whether it is whole, and of a kind that Pillow can read."
        ) from error


def _content_of(path: str) -> bytes:
    with system.read_file(_local(path)) as file:
        return file.read()


def _reason(error: Exception) -> str:
    """What an error says, without the name that a buffer has."""
    return re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", "", str(error)).rstrip(".")


def _decoded(content: bytes) -> npt.NDArray[Any]:
    return as_image(_from_tiff(content) if content.startswith(_TIFF) else formats.read_image(io.BytesIO(content)))


def _from_tiff(content: bytes) -> npt.NDArray[Any]:
    """By tifffile, which knows all dtypes; by Pillow, where colours are encoded or tifffile cannot decompress them."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        if page.photometric in _PLAIN:
            with contextlib.suppress(ValueError):  # compressed so that it needs imagecodecs
                return _values_of(file)
        array = formats.read_image(io.BytesIO(content))
        if array.dtype != page.dtype:
            raise ValueError(f"its data of dtype {page.dtype} cannot be decoded in full without imagecodecs")
        return array


def _values_of(file: tifffile.TiffFile) -> npt.NDArray[Any]:
    """The first page; or all of an array that tifffile has spread over pages, and says so in the file."""
    import numpy as np

    series = file.series[0]
    found = series if series.kind == "shaped" or len(series.pages) == 1 else file.pages.first
    array: npt.NDArray[Any] = found.asarray()
    return np.moveaxis(array, 0, -1) if found.axes == "SYX" else array  # one plane a colour


def write_image(image: npt.ArrayLike, path: str | os.PathLike[str], *, sync: bool = False) -> None:
    """Write an image to a file: readers see what was there before, or the whole image.

    Several may write one file at the same time: the last one stays. Missing folders are made.

    Parameters
    ----------
    image
        As the format of the suffix takes it. Floats from 0 to 1 are written as 0 to 255 where the format holds none
        (``.png``, ``.jpg``), and as they are where it does (``.tif``). An axis of one channel is left out.
    path
        Its suffix says how the image is written: ``.png``, ``.jpg`` (``.jpeg``, ``.jpe``, ``.jfif``), ``.tif``
        (``.tiff``), in large letters too, or that of an image for which ``register_format`` was called.
    sync
        Bring the file to the disk, so that it survives a power cut.

    Raises
    ------
    ImageError
        Nothing is known of the suffix, the path is a URL, or the image cannot be written so without changing its
        values.
    OSError
        The file could not be written; what was there before still is.
    """
    name = os.path.abspath(_local(os.fspath(path)))
    format = _format_of(name)
    try:
        pixels = _storable(as_image(image), format.suffix)
        system.makedirs(os.path.dirname(name))
        local.write_replacing(name, lambda file: format.write(pixels, file), sync=sync)
    except (ImageError, TypeError) as error:
        raise ImageError(f"{name!r} was not written: {error}") from error


def _format_of(path: str) -> formats.Format:
    suffix = os.path.splitext(path)[1].lower()
    known = formats.registered_formats()
    format = known.get(_SPELLINGS.get(suffix, suffix))
    if format is None or suffix not in image_suffixes():
        spellings = sorted((known.keys() & image_suffixes()) | _SPELLINGS.keys())
        raise ImageError(
            f"{path!r} was not written: its suffix {suffix!r} is none that an image is written with. Choose one of "
            f"{', '.join(spellings)}, or make it known with register_format(suffix, read, write)."
        )
    return format


def _storable(array: npt.NDArray[Any], suffix: str) -> npt.NDArray[Any]:
    """The image as its format can hold it, where that is not a matter of taste."""
    if suffix in _HOLD_FLOATS:
        return array
    if array.ndim == 3 and array.shape[2] == 1:  # noqa: PLR2004 - one channel
        array = array[..., 0]
    return to_ubyte(array) if array.dtype.kind == "f" or (array.dtype.kind == "b" and suffix == ".jpg") else array


def _local(path: str) -> str:
    """The path; ImageError where it begins with a scheme, which would become the name of a folder."""
    if _SCHEME.match(path):
        raise ImageError(
            f"{path!r} is no path of a file. Images are read from local paths, http:// and https://, and written to "
            "local paths."
        )
    return path


def image_files(folder: str | os.PathLike[str]) -> list[str]:
    """Paths of the images below a folder, sorted; nested folders are walked.

    An image is what has the suffix of a kind that Pillow can read, in small or large letters. Hidden files and folders
    are left out; symlinked files are followed, symlinked folders are not.

    Parameters
    ----------
    folder
        The folder to look at.

    Returns
    -------
    list of str
        The folder as it was given, with the path below it.

    Raises
    ------
    MissingInputError
        There is no such folder.
    """
    endings = "|".join(re.escape(suffix) for suffix in sorted(image_suffixes()))
    return sorted(item.path for item in scan(_local(os.fspath(folder)), rf"(?i)(?:{endings})$"))


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the files that Pillow can read, in small letters.

    Examples
    --------
    >>> {".png", ".jpeg", ".webp"} <= image_suffixes(), ".pdf" in image_suffixes()
    (True, False)
    """
    from PIL import Image, ImageFile

    found = Image.registered_extensions()
    return frozenset(
        suffix
        for suffix, kind in found.items()
        if kind in Image.OPEN and kind not in _WITHOUT_PIXELS and not _is_stub(Image.OPEN[kind][0], ImageFile)
    )


def _is_stub(factory: Any, module: Any) -> bool:
    """Whether Pillow knows that there are such files, and leaves it to others to read them."""
    return isinstance(factory, type) and issubclass(factory, module.StubImageFile)
