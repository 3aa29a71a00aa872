"""A master that is none: it answers preforkctl over a Unix socket with whatever a test wants."""
import json
import os
import socket
import threading

import harness


def answer(body, status="200 OK", kind="application/json"):
    """A whole answer. A body that is no string is sent as JSON."""
    if not isinstance(body, str):
        body = json.dumps(body)
    data = body.encode("utf-8", "surrogateescape")
    return (f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
            "Connection: close\r\n\r\n").encode() + data


def head(kind="application/x-ndjson"):
    """The head of an answer whose end is the connection's."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()


def lines(*events):
    """An answer of JSON lines."""
    return head() + b"".join(json.dumps(event).encode() + b"\n" for event in events)


class FakeMaster:
    """Serves from entering the block to its end. `replies` maps "METHOD /path?query" to bytes or to
    a function that gets the connection; anything else is answered with 404."""

    def __init__(self, replies):
        self.path = os.path.join(harness.folder(), "fake")
        self.replies = replies
        self.requests = []  # first lines
        self.heads = []     # whole ones
        self.end = threading.Event()
        self.listener = None
        self.threads = []

    def __enter__(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)
        for thread in self.threads:
            thread.join(harness.DEADLINE)

    def _accept(self):
        while not self.end.is_set():
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection):
        with connection:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    piece = connection.recv(4096)
                    if not piece:
                        return
                    request += piece
                self.heads.append(request.decode())
                self.requests.append(self.heads[-1].split(" HTTP/", 1)[0])
                reply = self.replies.get(self.requests[-1]) or answer(
                    {"error": "no such page"}, "404 Not Found")
                if callable(reply):
                    reply(connection)
                else:
                    connection.sendall(reply)
            except OSError:
                pass  # preforkctl went away
