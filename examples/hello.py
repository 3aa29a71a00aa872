#!/usr/bin/env python3
"""A small web server to run under preforkd:

    preforkd --listen 8080 -- python3 examples/hello.py

It shows the three things that a server does to be supervised without losing a connection: it takes
the listening socket that it was started with (sd_listen_fds(3)), says when it is ready
(sd_notify(3)), and on TERM stops accepting, finishes what it has begun and ends.
"""
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIRST_FD = 3  # SD_LISTEN_FDS_START


class Handler(BaseHTTPRequestHandler):
    timeout = 5  # seconds; a client that says nothing does not hold up the end

    def do_GET(self):
        slot = os.environ.get("PREFORK_SLOT", "-")
        body = f"hello from worker {os.getpid()} in slot {slot}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them

    def __init__(self, sock):
        super().__init__(sock.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock


def inherited_socket():
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit(__doc__)
    return socket.socket(fileno=FIRST_FD)


def notify(message):
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(message.encode(), address)


def main():
    server = Server(inherited_socket())

    def stop(*_):
        # shutdown() waits for serve_forever(), which runs in this thread.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the master
    notify("READY=1")
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
