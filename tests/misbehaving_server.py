"""A web server on the loopback that answers as a test tells it to."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Paths are names of answers; an answer is a function of the handler and of how often it was asked before."""

    daemon_threads = False  # so that closing the server waits for all of them
    request_queue_size = 128

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.asked = []  # path and headers of each request
        self.connections = set()
        self.open = []
        self.is_ending = threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def count(self, path):
        return sum(asked == path for asked, _ in self.asked)

    def process_request(self, request, client_address):
        self.open.append(request)
        super().process_request(request, client_address)

    def hang_up(self):
        """End what clients have kept open."""
        for request in self.open:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """A client that has gone away is what many tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.strip("/").partition("?")[0]
        before = self.server.count(path)
        self.server.asked.append((path, dict(self.headers)))
        self.server.connections.add(self.client_address)
        self.server.answers[path](self, before)

    def answer(self, status=200, body=b"", **headers):
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)

    def drip(self, pieces, pause=0.002):
        """Send one piece after the other, until there are none, the client has gone, or the test is over."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if self.server.is_ending.wait(pause):
                    break
        self.close_connection = True

    def log_message(self, *_):
        """Say nothing."""


@contextlib.contextmanager
def serving(**answers):
    """A server with these answers, until the block ends."""
    server = Server(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.is_ending.set()
        server.shutdown()
        server.hang_up()
        server.server_close()
        thread.join()


def always(status=200, body=b"", **headers):
    """The same answer each time."""
    return lambda handler, _: handler.answer(status, body, **headers)


def first(count, bad, good):
    """One answer so many times, then another."""
    return lambda handler, before: (bad if before < count else good)(handler, before)


def drips_for_ever(handler, _):
    """A body that never ends, one byte at a time."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000000")
    handler.end_headers()
    handler.drip(iter(lambda: b"x", None))


def drips_headers_for_ever(handler, _):
    """An answer that does not even get to its body."""
    handler.drip(iter(lambda: b"H", None))


def never_answers(handler, _):
    """Nothing at all."""
    handler.server.is_ending.wait()
    handler.close_connection = True


def closes_midway(handler, _):
    """Half of what was announced."""
    handler.answer(body=b"half", Content_Length=8)
    handler.close_connection = True


def hangs_up(handler, _):
    """Not even a status."""
    handler.close_connection = True


def says_no_length(body):
    """A body that ends where the connection does."""

    def answer(handler, _):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


def in_chunks(*pieces, is_whole=True):
    """A body of which nobody knows the length before it ends."""

    def answer(handler, _):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if is_whole:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = not is_whole

    return answer


def later(seconds, answer):
    """An answer after a while."""

    def wait(handler, before):
        time.sleep(seconds)
        answer(handler, before)

    return wait
