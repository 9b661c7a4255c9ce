"""The web: what lies at a URL, as bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from luisy_dir.errors import DefinitionError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_SECONDS = 60.0
RETRIES = 5
_SCHEMES = ("http://", "https://")


def is_url(text: str) -> bool:
    """Whether this is a URL that :func:`read_url` can read.

    Examples
    --------
    >>> is_url("https://example.org/a.png"), is_url("s3://bucket/a.png"), is_url("a.png")
    (True, False, False)
    """
    return text.lower().startswith(_SCHEMES)


def read_url(
    url: str,
    *,
    timeout: float = TIMEOUT_SECONDS,
    retries: int = RETRIES,
    max_bytes: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Read what lies at a URL; needs the extra ``luisy_dir[web]``.

    What may pass is tried again: errors of the connection, answers that end too early or come too late, and the
    statuses 408, 429 and 500 to 599. Between the tries it waits 0, 1, 2, 4, … seconds and a little, 30 at most, or as
    long as ``Retry-After`` says, 60 at most. Up to 10 redirects are followed. Certificates are verified.

    Parameters
    ----------
    url
        Begins with ``http://`` or ``https://``.
    timeout
        Seconds that one try may take, from the first byte that is sent to the last one that is received; a redirect
        begins anew.
    retries
        How often it is tried again.
    max_bytes
        More than this is an error; None takes everything.
    headers
        Sent with the request, such as ``{"Authorization": "Bearer …"}``; that one is not sent on to another host.

    Raises
    ------
    WebError
        The URL could not be read; its ``url`` and ``status`` say more.
    DefinitionError
        This is no such URL, or an argument is out of its range.
    MissingExtraError
        ``urllib3`` is not installed.
    """
    _check(url, timeout, retries, max_bytes)
    try:
        from luisy_dir.web.request import Request
    except ModuleNotFoundError as error:
        if error.name != "urllib3":
            raise
        raise MissingExtraError(
            f"{url!r} needs urllib3, which is not installed. Install it with: pip install 'luisy_dir[web]'"
        ) from error
    return Request(url, timeout, max_bytes, dict(headers or {})).read(retries)


def _check(url: str, timeout: float, retries: int, max_bytes: int | None) -> None:
    try:
        parts = urlsplit(url)
        is_right = is_url(url) and bool(parts.hostname) and url.isprintable() and (parts.port or 1) > 0
    except ValueError:  # a port that is no number, or brackets that do not close
        is_right = False
    if not is_right:
        _refuse(f"{url!r} is no URL that can be read. Give one that begins with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        _refuse(f"A URL of the host {parts.hostname!r} holds a password. Give it in headers=, where no log shows it.")
    if not (timeout > 0 and math.isfinite(timeout)):
        _refuse(f"read_url got {timeout!r} for a timeout. Give seconds above 0.")
    if retries < 0 or (max_bytes is not None and max_bytes < 0):
        _refuse(f"read_url got retries={retries!r} and max_bytes={max_bytes!r}. Give numbers from 0.")


def _refuse(message: str) -> NoReturn:
    raise DefinitionError(message)
