"""Roots: where the folders lie that items were read from, as seen from the directory that was made of them."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

_TO_ENCODE = re.compile("[%\udc80-\udcff]")  # the sign of an encoding, and what is not valid UTF-8


def seen_from(directory: str, folder: str) -> str:
    """Path of a folder relative to a published directory, as a record has it.

    ``%`` and bytes that are not valid UTF-8 are percent-encoded, so that every name survives as text.

    Parameters
    ----------
    directory, folder
        Absolute paths.

    Examples
    --------
    >>> seen_from("/data/pipeline/interim/ToNumpy", "/data/pipeline/raw/100%")
    '../../raw/100%25'
    """
    return _TO_ENCODE.sub(_encoded, os.path.relpath(folder, directory))


def _encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(match[0]))


def folder_of(directory: str, root: str) -> str:
    """Absolute path of a folder that a record names, the other way round.

    Examples
    --------
    >>> folder_of("/moved/pipeline/interim/ToNumpy", "../../raw/100%25")
    '/moved/pipeline/raw/100%'
    """
    return os.path.normpath(os.path.join(directory, os.fsdecode(unquote_to_bytes(root))))
