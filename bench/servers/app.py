"""Answers like the tests' server, for WSGI."""
import os


def application(_environ, start_response):
    body = b"pid=%d slot=0 gen=0\n" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
