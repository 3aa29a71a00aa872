"""The health pages, asked as a kubelet asks, in every phase of the master's life."""
import os
import signal
import socket
import threading
import time

import proc
from harness import (Master, check, connect, diag, equal, matches, parse_reply, pool, quiet_server,
                     read_all, server, sleeper, stays, wait_until)


def statuses(m):
    pages = ("liveness", "readiness", "startup")
    return tuple(m.health(f"/healthz/{page}").status for page in pages)


def test_phases():
    """liveness, readiness and startup before ready, ready and draining"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--ready", "notify", "--drain-delay", "1s", "--",
                *server("--start-delay=700")) as m:
        equal(statuses(m), (200, 503, 503), "liveness, readiness, startup before ready")
        matches(m.health("/healthz/readiness").body, r"starting", "reason")
        m.wait_ready()
        equal(statuses(m), (200, 200, 200), "liveness, readiness, startup when ready")
        equal(m.health("/healthz/liveness").body.strip(), "ok", "body of liveness")
        m.send(signal.SIGTERM)
        wait_until(lambda: not m.is_ready(), "readiness 503", timeout=2)
        equal(statuses(m), (200, 503, 200), "liveness, readiness, startup while draining")
        matches(m.health("/healthz/readiness").body, r"draining", "reason")
        equal(m.wait(), 0, "exit status")


def test_degraded():
    """readiness is 503 with the count while fewer than min-ready are ready, then 200 again"""
    config = pool("web", listen="127.0.0.1:0", workers=2, min_ready=2, backoff="1h",
                  backoff_max="1h", min_uptime="1h")
    with Master(config=config) as m:
        m.wait_ready()
        os.kill(m.in_slot(0, "web"), signal.SIGKILL)
        wait_until(lambda: not m.is_ready(), "readiness 503")
        matches(m.health("/healthz/readiness").body, r"degraded: web 1/2", "reason")
        equal(m.health("/healthz/liveness").status, 200, "liveness")
        equal(m.health("/healthz/startup").status, 200, "startup")


def test_min_ready_percent():
    """min-ready in percent, and a reload that changes it takes effect"""
    config = pool("web", workers=4, command=server("--crash-start=3", "--only-slot=3"),
                  min_ready="100%", listen="127.0.0.1:0", backoff="1h", backoff_max="1h",
                  min_uptime="20ms")
    with Master(config=config) as m:
        wait_until(lambda: "degraded: web 3/4" in m.health("/healthz/readiness").body or
                   "starting" in m.health("/healthz/readiness").body and
                   m.count_log("ready after") == 3, "three of four")
        check(not m.is_ready(), "ready with 3 of 4")
    with Master(config=config.replace("100%", "75%")) as m:
        wait_until(m.is_ready, "readiness with 75 %")


def test_verbose():
    """?verbose lists the pools, one a line"""
    with Master(config=pool("web", sleeper(), workers=1) + pool("jobs", sleeper(), workers=2)) as m:
        m.wait_ready()
        for page in ("liveness", "readiness", "startup"):
            reply = m.health(f"/healthz/{page}?verbose")
            equal(reply.status, 200, page)
            matches(reply.body, r"^\[\+\]", f"{page}, in the style of kube-apiserver")
        matches(m.health("/healthz/readiness?verbose").body, r"web", "pools")
        matches(m.health("/healthz/readiness?verbose").body, r"jobs", "pools")


def test_methods_and_paths():
    """HEAD without body; 404; 405 with Allow; plain text that nobody stores; never a redirect"""
    with Master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        reply = m.health("/healthz/liveness")
        equal(reply.headers.get("cache-control"), "no-store", "Cache-Control")
        check(reply.headers["content-type"].startswith("text/plain"), "content type")
        head = m.health("/healthz/liveness", method="HEAD")
        equal((head.status, head.body), (200, ""), "HEAD")
        equal(int(head.headers["content-length"]), len(reply.body), "length that HEAD tells")
        for path in ("/nothing", "//healthz/liveness", "/healthz/live%6eess", "/healthz/liveness/",
                     "/healthz"):
            equal(m.health(path).status, 404, path)
        for method in ("POST", "PUT", "DELETE"):
            reply = m.health("/healthz/liveness", method=method)
            equal(reply.status, 405, method)
            equal(sorted(reply.headers["allow"].replace(" ", "").split(",")), ["get", "head"],
                  "Allow")


def raw(m, data):
    """What the health port answers to these bytes; None when it only closes."""
    with connect(f"127.0.0.1:{m.health_port()}", 10) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            answer = read_all(sock)
        except TimeoutError:
            raise
        except OSError:  # reset, broken pipe, not connected any more
            return None
    return parse_reply(answer).status if answer else None


def test_hostile_requests():
    """Garbage and oversized requests get 4xx or a closed connection; the pages go on answering"""
    cases = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
             b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 1000,
             b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50000 + b"\r\n",
             b"GET / HTTP/1.1\r\nX: " + b"z" * 1000000 + b"\r\n\r\n", b"\r\n\r\n", b"GET\r\n\r\n"]
    with Master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        for data in cases:
            status = raw(m, data)
            check(status is None or 400 <= status <= 505, f"{data[:20]!r}: status {status}")
            equal(m.health("/healthz/liveness").status, 200, f"liveness after {data[:20]!r}")


PAGES = ("/", "/status", "/metrics", "/healthz/liveness", "/healthz/readiness", "/healthz/startup")


def test_statuses():
    """The right status for each kind of request, on every page"""
    with Master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        for page in PAGES:
            path = page.encode()
            end = b" HTTP/1.1\r\nHost: x\r\n"
            cases = {
                b"GET " + path + end + b"\r\n": 200,
                b"GET " + path + b" HTTP/1.0\r\n\r\n": 200,
                b"HEAD " + path + end + b"\r\n": 200,
                b"POST " + path + end + b"Content-Length: 5\r\n\r\nhello": 405,
                b"OPTIONS " + path + end + b"\r\n": 405,
                b"GET /" + path + end + b"\r\n": 404,
                b"GET http://x" + path + end + b"\r\n": 404,
                b"GET " + path + b"/x" + end + b"\r\n": 404,
                b"GET " + path + b"?" + b"a" * 20000 + end + b"\r\n": 414,
                b"GET " + path + end + b"X: " + b"z" * 1000000 + b"\r\n\r\n": 431,
                b"GET " + path + b" HTTP/3.0\r\n\r\n": 505,
                b"GET " + path + b"\0" + end + b"\r\n": 200,
            }
            for data, wanted in cases.items():
                status = raw(m, data)
                check(status in (wanted, None) if len(data) > 10000 else status == wanted,
                      f"{data[:40]!r}: status {status}, wanted {wanted}")
        greeting = b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3\xff\xfe z\r\n\r\n"
        equal(raw(m, greeting), 400, "a TLS greeting")


def test_pipelined():
    """Of requests that come together the first is answered, and the connection ends"""
    with Master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        with connect(f"127.0.0.1:{m.health_port()}", 10) as sock:
            sock.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
            answer = read_all(sock)
        equal(answer.count(b"HTTP/1.1 200 OK"), 1, "answers")
        equal(parse_reply(answer).headers["connection"], "close", "Connection")


def test_strangers_see_no_secrets():
    """/status on the health address has no arguments and no environment"""
    with Master(config=pool("web", [*sleeper(), "--password=SECRET"], env="KEY=SECRET")) as m:
        m.wait_ready()
        for page in PAGES:
            check("SECRET" not in m.health(page).body, page)


def test_many_slots():
    """Pages with many slots are made seldom: asking for them all the time keeps nobody waiting"""
    with Master("-w", "200", "--min-uptime", "10ms", "--", *sleeper()) as m:
        m.wait_ready()
        port, stop = m.health_port(), threading.Event()

        def ask_all_the_time():
            while not stop.is_set():
                for page in ("/status", "/metrics"):
                    m.health(page, timeout=20)
        threads = [threading.Thread(target=ask_all_the_time) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(50):
                equal(m.health("/healthz/liveness", timeout=20).status, 200, "liveness")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        diag(f"loop lag {m.metrics()['preforkd_loop_lag_seconds'] * 1000:.1f} ms, port {port}")


def test_slow_clients():
    """1,000 slow connections do not keep a probe waiting"""
    with Master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        port, slow, stop = m.health_port(), [], threading.Event()
        before = len(proc.fds(m.pid))

        def crowd():
            while not stop.is_set():
                while len(slow) < 1000:
                    try:
                        sock = socket.create_connection(("127.0.0.1", port), timeout=5)
                        sock.sendall(b"GET /healthz/liveness HTTP/1.1\r\nX: ")
                        slow.append(sock)
                    except OSError:
                        pass
                time.sleep(0.05)
        thread = threading.Thread(target=crowd)
        thread.start()
        try:
            wait_until(lambda: len(slow) >= 1000, "1,000 slow connections", timeout=30)
            took = []
            for _ in range(100):
                began = time.monotonic()
                equal(m.health("/healthz/liveness").status, 200, "liveness")
                took.append(time.monotonic() - began)
        finally:
            stop.set()
            thread.join()
            for sock in slow:
                sock.close()
        took.sort()
        diag(f"probe among 1,000 slow connections: median {took[50] * 1000:.1f} ms, "
             f"p99 {took[98] * 1000:.1f} ms")
        check(took[98] < 1, "a kubelet would have given up")
        wait_until(lambda: len(proc.fds(m.pid)) <= before, "descriptors come back")


def test_busy_workers():
    """The pages answer while all workers hang and the port's queue is full of requests"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        waiting = [connect(m.address()) for _ in range(20)]
        for sock in waiting:
            sock.sendall(b"GET /hang HTTP/1.1\r\n\r\n")
        stays(lambda: m.health("/healthz/liveness").status == 200, 0.5, "liveness")
        for sock in waiting:
            sock.close()
        m.send(signal.SIGQUIT)
        m.wait()


def test_liveness_through_crash_loop():
    """Without a breaker, liveness stays 200 while workers crash over and over"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--backoff", "20ms", "--backoff-max", "50ms",
                "--breaker-failures", "0", "--", *quiet_server("--crash-start=1")) as m:
        m.wait_log(r"failed start number 5")
        equal(statuses(m)[:2], (200, 503), "liveness, readiness")
