"""An ordinary ASGI application, for uvicorn."""
import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = "pid=%d slot=%s gen=%s\n" % (os.getpid(), os.environ.get("PREFORK_SLOT"),
                                        os.environ.get("PREFORK_GENERATION"))
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
