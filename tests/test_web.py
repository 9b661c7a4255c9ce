"""The web: bytes of a URL from a real server on the loopback, which misbehaves on purpose."""

from __future__ import annotations

import gzip
import os
import pickle
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from misbehaving_server import (
    always,
    closes_midway,
    drips_for_ever,
    drips_headers_for_ever,
    first,
    hangs_up,
    in_chunks,
    never_answers,
    says_no_length,
    serving,
)

from luisy_dir.errors import DefinitionError, MissingExtraError, WebError
from luisy_dir.web import is_url, read_url, request


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Seconds that were to be waited between tries; nobody waits, and the connections are those of this test."""
    waited = []
    monkeypatch.setattr("urllib3.util.retry.time", SimpleNamespace(sleep=waited.append, time=time.time))
    request._manager.cache_clear()
    yield waited
    request._manager(os.getpid()).clear()
    request._manager.cache_clear()


def test_what_lies_at_a_url_is_read():
    body = bytes(range(256)) * 1000
    with serving(a=always(body=body)) as server:
        assert read_url(server.url("a")) == body


@pytest.mark.parametrize(
    "answer", [says_no_length(b"abcdef"), in_chunks(b"abc", b"def")], ids=["until it closes", "in chunks"]
)
def test_a_body_may_come_without_its_length(answer):
    with serving(a=answer) as server:
        assert read_url(server.url("a"), retries=0) == b"abcdef"


def test_a_body_that_was_packed_for_the_way_is_unpacked():
    with serving(a=always(body=gzip.compress(b"abc"), Content_Encoding="gzip")) as server:
        assert read_url(server.url("a")) == b"abc"


def test_an_empty_body_is_a_body():
    with serving(a=always()) as server:
        assert read_url(server.url("a")) == b""


class TestOneMoreTry:
    @pytest.mark.parametrize(
        "bad",
        [
            always(503),
            always(500),
            always(429),
            always(408),
            hangs_up,
            closes_midway,
            in_chunks(b"abc", is_whole=False),
        ],
        ids=["503", "500", "429", "408", "hangs up", "closes midway", "chunks end early"],
    )
    def test_what_may_pass_is_tried_again(self, bad):
        with serving(a=first(2, bad, always(body=b"good"))) as server:
            assert read_url(server.url("a"), retries=2) == b"good"
            assert server.count("a") == 3

    def test_each_pause_is_longer_than_the_one_before(self, pauses):
        with serving(a=always(503)) as server, pytest.raises(WebError):
            read_url(server.url("a"), retries=5)

        assert pauses == sorted(pauses)
        assert pauses[-1] >= 8 * 0.5
        assert max(pauses) <= 30

    def test_a_server_may_say_how_long_to_wait(self, pauses):
        with serving(a=first(1, always(429, Retry_After=7), always(body=b"good"))) as server:
            read_url(server.url("a"))

        assert pauses == [7]

    def test_it_may_say_so_as_a_date(self, pauses):
        then = formatdate(time.time() + 20, usegmt=True)
        with serving(a=first(1, always(503, Retry_After=then), always(body=b"good"))) as server:
            read_url(server.url("a"))

        assert 0 < pauses[0] <= 20

    @pytest.mark.parametrize(("wish", "waited"), [("86400", [60.0]), ("9" * 400, [60.0]), ("soon", []), ("-5", [])])
    def test_nobody_is_kept_waiting_for_a_day(self, pauses, wish, waited):
        with serving(a=first(1, always(503, Retry_After=wish), always(body=b"good"))) as server:
            assert read_url(server.url("a")) == b"good"

        assert pauses == waited

    def test_only_who_refuses_says_how_long_to_wait(self, pauses):
        """The first pause is none, and what broke off was no refusal."""

        def breaks_off(handler, _):
            handler.answer(body=b"half", Content_Length=8, Retry_After=7)
            handler.close_connection = True

        with serving(a=first(1, breaks_off, always(body=b"good"))) as server:
            assert read_url(server.url("a")) == b"good"

        assert pauses == []

    @pytest.mark.parametrize("retries", [0, 1, 3])
    def test_after_so_many_tries_it_is_an_error(self, retries):
        with serving(a=always(503)) as server, pytest.raises(WebError, match="answered 503") as caught:
            read_url(server.url("a"), retries=retries)

        assert server.count("a") == retries + 1
        assert caught.value.status == 503
        assert ("once" if retries == 0 else f"{retries + 1} times") in str(caught.value)

    def test_a_body_that_never_comes_whole_is_an_error(self):
        """Half an image is no image."""
        with serving(a=closes_midway) as server, pytest.raises(WebError, match="IncompleteRead") as caught:
            read_url(server.url("a"), retries=1)

        assert server.count("a") == 2
        assert caught.value.url == server.url("a")

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 304])
    def test_what_will_not_pass_is_an_error_at_once(self, status):
        with serving(a=always(status)) as server, pytest.raises(WebError, match=f"/a' answered {status}") as caught:
            read_url(server.url("a"))

        assert server.count("a") == 1
        assert (caught.value.status, caught.value.url) == (status, server.url("a"))

    def test_a_server_that_is_not_there_is_tried_again_and_named(self, pauses):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/a"
            with pytest.raises(WebError, match="refused") as caught:
                read_url(url, retries=3)

        assert (caught.value.url, caught.value.status) == (url, None)
        assert "4 times" in str(caught.value)
        assert len(pauses) == 2  # the first one is none

    def test_a_host_that_has_no_address_is_named(self):
        with pytest.raises(WebError, match=r"nowhere\.invalid"):
            read_url("http://nowhere.invalid/a", retries=0)


class TestTime:
    """What a try may take is a total: a byte now and then does not prolong it."""

    @pytest.mark.parametrize("answer", [drips_for_ever, drips_headers_for_ever, never_answers])
    def test_a_slow_server_costs_its_time_and_no_more(self, answer):
        """The test's own time-out is what would be hit: the server never ends."""
        with serving(a=answer) as server, pytest.raises(WebError, match="imed out") as caught:
            read_url(server.url("a"), timeout=1, retries=1)

        assert server.count("a") == 2
        assert caught.value.status is None

    def test_a_slow_server_is_tried_again(self):
        with serving(a=first(1, drips_for_ever, always(body=b"good"))) as server:
            assert read_url(server.url("a"), timeout=1) == b"good"

    def test_a_body_that_comes_slowly_and_in_time_is_read(self):
        def slow(handler, _):
            handler.send_response(200)
            handler.send_header("Content-Length", "5")
            handler.end_headers()
            handler.drip([b"s", b"l", b"o", b"w", b"!"])

        with serving(a=slow) as server:
            assert read_url(server.url("a"), timeout=30, retries=0) == b"slow!"

    def test_a_connection_that_was_slow_is_as_patient_as_a_new_one_when_it_is_used_again(self):
        """The time that one answer had left is not what the next one has."""
        with serving(a=always(body=b"x" * 200_000), b=always(body=b"y")) as server:
            for _ in range(3):
                read_url(server.url("a"), timeout=5, retries=0)
                assert read_url(server.url("b"), timeout=20, retries=0) == b"y"
            assert len(server.connections) == 1


class TestRedirects:
    def test_a_redirect_is_followed(self):
        with serving(a=always(302, Location="/b"), b=always(body=b"there")) as server:
            assert read_url(server.url("a"), retries=0) == b"there"

    def test_a_circle_ends(self):
        with serving(a=always(302, Location="/b"), b=always(302, Location="/a")) as server:
            with pytest.raises(WebError, match="too many redirects"):
                read_url(server.url("a"))
            assert server.count("a") + server.count("b") == 11

    @pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/a", "s3://bucket/a"])
    def test_a_redirect_to_another_scheme_is_refused(self, place):
        with serving(a=always(302, Location=place)) as server:
            with pytest.raises(WebError, match=r"scheme|host"):
                read_url(server.url("a"))
            assert server.count("a") == 1

    def test_who_may_read_here_is_not_told_to_others(self):
        with serving(b=always(body=b"there")) as other, serving(a=always(302, Location=other.url("b"))) as server:
            read_url(server.url("a"), headers={"Authorization": "Bearer secret", "X-Purpose": "test"})

            assert server.asked[0][1]["Authorization"] == "Bearer secret"
            assert "Authorization" not in other.asked[0][1]


class TestSize:
    def test_what_is_as_large_as_allowed_is_read(self):
        with serving(a=always(body=b"x" * 1000)) as server:
            assert len(read_url(server.url("a"), max_bytes=1000)) == 1000

    @pytest.mark.parametrize("answer", [always(body=b"x" * 1001), in_chunks(b"x" * 1001), drips_for_ever])
    def test_what_is_larger_is_an_error_at_once(self, answer):
        limit = 3 if answer is drips_for_ever else 1000
        with serving(a=answer) as server, pytest.raises(WebError, match="max_bytes"):
            read_url(server.url("a"), max_bytes=limit)

        assert server.count("a") == 1

    def test_a_small_body_that_unpacks_to_a_large_one_is_larger(self):
        bomb = gzip.compress(b"\0" * 10_000_000)
        with (
            serving(a=always(body=bomb, Content_Encoding="gzip")) as server,
            pytest.raises(WebError, match="max_bytes"),
        ):
            read_url(server.url("a"), max_bytes=len(bomb))


class TestRefusals:
    @pytest.mark.parametrize(
        "url",
        [
            "s3://bucket/a",
            "file:///etc/passwd",
            "ftp://host/a",
            "a.png",
            "",
            "http://",
            "http:///a",
            "http://h:x/a",
            "http://[::1/a",
            "http://h/a b\n",
            "http://h/\r\nX: y",
        ],
    )
    def test_what_is_no_url_is_refused(self, url):
        with pytest.raises(DefinitionError, match="no URL that can be read"):
            read_url(url)

    def test_a_password_in_a_url_is_refused_and_not_shown(self):
        with pytest.raises(DefinitionError) as caught:
            read_url("http://me:secret@127.0.0.1/a")

        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "argument", [{"timeout": 0}, {"timeout": float("inf")}, {"timeout": float("nan")}, {"retries": -1}]
    )
    def test_an_argument_out_of_its_range_is_refused(self, argument):
        with pytest.raises(DefinitionError, match="read_url got"):
            read_url("http://127.0.0.1/a", **argument)

    @pytest.mark.parametrize(("text", "is_one"), [("HTTP://h/a", True), ("https://h", True), ("http:/h", False)])
    def test_a_url_is_known_by_its_begin(self, text, is_one):
        assert is_url(text) is is_one

    def test_without_urllib3_it_says_what_to_install(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "luisy_dir.web.request")
        monkeypatch.setitem(sys.modules, "urllib3", None)

        with pytest.raises(MissingExtraError, match=r"luisy_dir\[web\]"):
            read_url("http://127.0.0.1/a")

    def test_asking_whether_it_is_a_url_loads_no_urllib3(self):
        code = "import sys, luisy_dir.web; assert luisy_dir.web.is_url('http://h'); assert 'urllib3' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_a_certificate_that_nobody_vouches_for_is_an_error_at_once(tmp_path):
    context = _own_certificate(tmp_path)
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            for _ in range(3):
                connection, _ = listening.accept()
                asked.append(connection)
                with connection, pytest.raises(OSError):  # the client says that it does not know us
                    context.wrap_socket(connection, server_side=True).recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(WebError, match="CERTIFICATE_VERIFY_FAILED"):
            read_url(f"https://127.0.0.1:{listening.getsockname()[1]}/a", retries=2)
        assert len(asked) == 1
        for _ in range(2):  # let the thread end
            socket.create_connection(listening.getsockname()).close()
        thread.join()


_ELLIPTIC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")  # made at once, other than for RSA


def _own_certificate(folder):
    made = ["openssl", "req", "-x509", *_ELLIPTIC, "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    try:
        subprocess.run([*made, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


def test_threads_share_connections_and_each_gets_its_own_bytes():
    answers = {f"a{number}": always(body=str(number).encode() * 1000) for number in range(20)}
    with serving(**answers) as server, ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            bodies = list(threads.map(lambda path: read_url(server.url(path), retries=0), answers))
            assert bodies == [str(number).encode() * 1000 for number in range(20)]
        assert len(server.connections) <= 8


_FORKS = """
import os, sys
from luisy_dir.web import read_url

url = sys.argv[1]
assert read_url(url + "parent", retries=0) == b"parent"  # leaves a connection open
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        for _ in range(20):
            assert read_url(url + "child", retries=0) == b"child"
        os._exit(0)
    children.append(child)
for _ in range(20):
    assert read_url(url + "parent", retries=0) == b"parent"
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
"""


def test_a_fork_opens_connections_of_its_own():
    """Two processes that read from one socket would each get a part of the answers."""
    with serving(parent=always(body=b"parent"), child=always(body=b"child")) as server:
        done = subprocess.run(
            [sys.executable, "-c", _FORKS, server.url("")], capture_output=True, text=True, check=False
        )

        assert (done.returncode, done.stderr) == (0, "")
        assert len(server.connections) == 5


def test_an_error_knows_its_url_and_status_after_pickling():
    """A worker raises it, and the parent decides."""
    with serving(a=always(404)) as server, pytest.raises(WebError) as caught:
        read_url(server.url("a"))

    again = pickle.loads(pickle.dumps(caught.value))

    assert (again.url, again.status, str(again)) == (server.url("a"), 404, str(caught.value))
    assert isinstance(again, OSError)
