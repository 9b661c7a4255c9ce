"""A request: one URL, tried until its bytes are there or nothing more can be hoped for."""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, InvalidHeader, LocationValueError, MaxRetryError, ResponseError, SSLError

from luisy_dir.errors import WebError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PASSING = {408, 429, *range(500, 600)}  # statuses after which another try may fare better
_DENIED = {401, 403, 407}
_BLOCK_BYTES = 1 << 16
_CONNECTIONS = 64  # kept open for each host: as many threads may read from it without connecting anew each time
_BACK_OFF_SECONDS = 0.5  # urllib3 waits 0, then twice this, four times this, …
_LONGEST_BACK_OFF_SECONDS = 30
_LONGEST_RETRY_AFTER_SECONDS = 60.0
_REDIRECTS = urllib3.Retry(
    total=None, connect=False, read=False, other=0, redirect=10, respect_retry_after_header=False
)  # all that urllib3 repeats by itself: what ends amid the body is tried again by us alone


@dataclass(frozen=True)
class Request:
    """What is asked for, and how patiently; see :func:`luisy_dir.web.read_url`."""

    url: str
    timeout: float
    max_bytes: int | None
    headers: Mapping[str, str]

    def read(self, retries: int) -> bytes:
        """The bytes; WebError where there are none after so many further tries."""
        policy: urllib3.Retry = _Policy(
            total=retries,
            backoff_factor=_BACK_OFF_SECONDS,
            backoff_max=_LONGEST_BACK_OFF_SECONDS,
            backoff_jitter=_BACK_OFF_SECONDS,
        )
        while True:
            response, error = None, None
            try:
                response = self._response()
                if 200 <= response.status < 300:  # noqa: PLR2004 - success, by RFC 9110
                    return self._body_of(response)
            except HTTPError as caught:
                error = caught.reason if isinstance(caught, MaxRetryError) and caught.reason else caught
            finally:
                if response is not None:
                    response.close()  # what has been read to its end went back to the pool before
            if not policy.total or not _is_passing(response, error):
                raise self._failure(response, error, tries=len(policy.history) + 1) from error
            answer = response if error is None else None
            policy = policy.increment("GET", self.url, answer, error)
            policy.sleep(answer)

    def _response(self) -> urllib3.BaseHTTPResponse:
        return _manager(os.getpid()).request(
            "GET",
            self.url,
            headers=self.headers,
            timeout=urllib3.Timeout(total=self.timeout),
            retries=_REDIRECTS,
            preload_content=False,
        )

    def _body_of(self, response: urllib3.BaseHTTPResponse) -> bytes:
        content = bytearray()
        self._check_size(getattr(response, "length_remaining", None) or 0, response)
        for block in response.stream(_BLOCK_BYTES):
            content += block
            self._check_size(len(content), response)
        return bytes(content)

    def _check_size(self, size_bytes: int, response: urllib3.BaseHTTPResponse) -> None:
        if self.max_bytes is not None and size_bytes > self.max_bytes:
            raise self._error(
                f"{self.url!r} is larger than the {self.max_bytes:,} bytes that max_bytes allows. Allow more, or leave "
                "it out.",
                response.status,
            )

    def _failure(
        self, response: urllib3.BaseHTTPResponse | None, error: BaseException | None, *, tries: int
    ) -> WebError:
        how_often = "once" if tries == 1 else f"{tries} times"
        if error is not None or response is None:
            what = f"{type(error).__name__}: {error}".rstrip(".")
            advice = "Look at the address and the network, or allow more with timeout= and retries=."
            return self._error(f"{self.url!r} could not be read: {what}. It was tried {how_often}. {advice}", None)
        status = response.status
        if status in _PASSING:
            advice = f"It was tried {how_often}. Try later, or more often with retries=."
        elif status in _DENIED:
            advice = "Give what it asks for in headers=, such as {'Authorization': 'Bearer …'}."
        else:
            advice = "Look whether the address is right."
        return self._error(f"{self.url!r} answered {status} {response.reason or ''}".rstrip() + f". {advice}", status)

    def _error(self, message: str, status: int | None) -> WebError:
        error = WebError(message)
        error.url, error.status = self.url, status
        return error


def _is_passing(response: urllib3.BaseHTTPResponse | None, error: BaseException | None) -> bool:
    """Whether another try may fare better."""
    if error is None:
        return response is not None and response.status in _PASSING
    if isinstance(error, SSLError):
        return not any(isinstance(each, ssl.SSLCertVerificationError) for each in error.args)
    return not isinstance(error, (LocationValueError, ResponseError))  # another scheme; too many redirects


class _Policy(urllib3.Retry):
    """urllib3's, with a limit to what a server may ask for."""

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        """Seconds to wait as the server asks, or None."""
        try:
            seconds = super().get_retry_after(response)
        except (InvalidHeader, OverflowError, ValueError):  # neither seconds nor a date
            return None
        return seconds if seconds is None else min(seconds, _LONGEST_RETRY_AFTER_SECONDS)


class _TimedReader(io.RawIOBase):
    """What a socket receives, up to one moment.

    A socket's own time-out begins anew with each byte, so that a server that sends one byte now and then keeps a reader
    for ever.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._socket = raw, sock
        seconds = sock.gettimeout()
        self._end = None if seconds is None else time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if self._end is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """A response that ends in time: what its socket had left when it began is for all of it, headers too."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _TimedResponse


class _SecureConnection(HTTPSConnection):
    response_class = _TimedResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


@lru_cache(maxsize=1)
def _manager(process_id: int) -> urllib3.PoolManager:
    """The connections of this process: a fork gets its own, since two that read from one socket each lose a part."""
    del process_id
    manager = urllib3.PoolManager(maxsize=_CONNECTIONS)
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return manager
