"""Loading of any input."""

from __future__ import annotations

from typing import Any, NamedTuple

from luisy_dir import web


class Response(NamedTuple):
    """What lies at a URL."""

    url: str
    content: bytes
    status_code: int = 200


def get_response(url: str, timeout: float = 5, **_: Any) -> Response:
    """What lies at a URL; tried again where that may help.

    Parameters
    ----------
    url
        Of http or https.
    timeout
        Seconds that one try may take in all.

    Raises
    ------
    WebError
        It could not be had.
    """
    return Response(url, web.read_url(url, timeout=timeout))
