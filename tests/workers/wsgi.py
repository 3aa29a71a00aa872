"""An ordinary WSGI application, for gunicorn."""
import os


def app(environ, start_response):
    body = "pid=%d slot=%s gen=%s\n" % (os.getpid(), os.environ.get("PREFORK_SLOT"),
                                        os.environ.get("PREFORK_GENERATION"))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]
