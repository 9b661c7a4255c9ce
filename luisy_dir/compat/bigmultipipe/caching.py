"""Caching: what a run has returned, kept in a file for the next program."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any

from luisy_dir.compat.bigmultipipe.functions import Pout
from luisy_dir.contents import check_folder_for, make_folder_for, read_bytes, write_bytes
from luisy_dir.errors import DefinitionError
from luisy_dir.item import printable

logger = logging.getLogger("luigi-interface.luisy_dir")


def cached_pout(
    pipe_code: Callable[..., list[Pout]],
    poutname: Any = None,
    read_pout: bool = False,  # noqa: FBT001, FBT002 - the original's
    write_pout: bool = False,  # noqa: FBT001, FBT002
    create_outdir: bool = False,  # noqa: FBT001, FBT002
    **kwargs: Any,
) -> list[Pout]:
    """What ``pipe_code`` returns, or what it has returned to an earlier program that has kept it.

    What was kept may be out of date: nobody looks at inputs, outputs or code.

    Parameters
    ----------
    pipe_code
        ``pipe_code(create_outdir=…, **kwargs)`` runs a pipeline, and returns what that returns.
    poutname
        Path of the file, a pickle: read only what is your own.
    read_pout
        Return what lies there, and call nothing. Where there is no file, and with a warning where it cannot be read,
        ``pipe_code`` is called.
    write_pout
        Keep what was returned.
    create_outdir
        Make the folder of the file.

    Raises
    ------
    DefinitionError
        The file has no name.
    FileNotFoundError
        Its folder is not there; nothing was called.
    """
    if poutname is None and (read_pout or write_pout):
        raise DefinitionError("read_pout and write_pout need a file. Give its path as poutname.")
    if read_pout:
        try:
            kept: list[Pout] = pickle.loads(read_bytes(poutname))
        except FileNotFoundError:
            pass
        except Exception as error:  # noqa: BLE001 - bytes that are no pickle raise whatever comes to pickle's mind
            told = printable(f"{type(error).__name__}: {error}")
            logger.warning("%s cannot be read, so that the pipeline runs again: %s", printable(str(poutname)), told)
        else:
            return kept
    if write_pout:
        (make_folder_for if create_outdir else check_folder_for)(poutname)
    pout = pipe_code(create_outdir=create_outdir, **kwargs)
    if write_pout:
        write_bytes(poutname, pickle.dumps(pout))
    return pout
