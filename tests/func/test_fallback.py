"""Clients while no worker is ready: the master answers them with 503, and only then."""
import os
import signal
import threading
import time

from harness import (Hammer, Master, check, connect, diag, equal, folder, free_port, parse_reply,
                     pool, read_all, server, skip, stays, wait_until, write)
from servers import wait_listens

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
ACTIVE = r"answering requests with status 503"
OVER = r"a worker is ready: requests are served again"


def switch():
    """A worker's command that fails to start while the file "down" is in the test's folder."""
    path = os.path.join(folder(), "down")
    script = f'[ ! -e "{path}" ] || exit 3; exec "$@"'
    return path, ["sh", "-c", script, "sh", *server()]


def down(path):
    write(os.path.basename(path), "")


def kill_all(m, name="main"):
    for who in m.table(name):
        os.kill(who.pid, signal.SIGKILL)


def expect_503(reply):
    equal(reply.status, 503, "status")
    check(int(reply.headers["retry-after"]) >= 1, f"Retry-After in {reply.headers}")
    equal(reply.headers["connection"], "close", "Connection")
    equal(int(reply.headers["content-length"]), len(reply.body), "Content-Length")


def ask_status(address, data=REQUEST):
    with connect(address, 20) as sock:
        sock.sendall(data)
        return parse_reply(read_all(sock))


def flood(address, count):
    """[(status, seconds)] of that many clients, all connected before the first sends."""
    socks = [connect(address, 30) for _ in range(count)]
    began = {}
    found = []
    for sock in socks:
        began[sock] = time.monotonic()
        sock.sendall(REQUEST)
    for sock in socks:
        reply = parse_reply(read_all(sock))
        found.append((reply.status, time.monotonic() - began[sock]))
        sock.close()
    return found


def test_thousand_clients():
    """1,000 clients while every worker is down get 503, and after the recovery none gets it"""
    path, command = switch()
    with Master("-w", "2", "-l", "127.0.0.1:0", "--fallback", "503", "--min-uptime", "10ms",
                "--backoff-max", "500ms", "--breaker-failures", "0", "--", *command) as m:
        m.wait_ready()
        start = m.mark()
        down(path)
        kill_all(m)
        m.wait_log(ACTIVE, start)
        found = flood(m.address(), 1000)
        equal({status for status, _ in found}, {503}, "status of 1,000 answers")
        times = sorted(seconds for _, seconds in found)
        diag(f"1,000 clients at once: 503 after p50 {times[500] * 1000:.1f} ms, "
             f"p99 {times[990] * 1000:.1f} ms, max {times[-1] * 1000:.1f} ms")
        expect_503(ask_status(m.address()))
        os.unlink(path)
        m.wait_log(OVER, start)
        with Hammer(m.address(), clients=8, seconds=60) as load:
            wait_until(m.is_ready, "readiness")
            time.sleep(0.5)
        load.expect_clean()
        equal({status for status, _ in flood(m.address(), 1000)}, {200}, "after the recovery")


def test_waiting_clients():
    """Those who came before the master answers get their answer too"""
    path, command = switch()
    with Master("-w", "2", "-l", "127.0.0.1:0", "--fallback", "503", "--min-uptime", "10ms",
                "--breaker-failures", "0", "--", *command) as m:
        m.wait_ready()
        down(path)
        kill_all(m)
        wait_until(lambda: not m.workers(), "no worker")
        equal({status for status, _ in flood(m.address(), 50)}, {503}, "answers")


def test_short_absence():
    """A worker that is back at once lets clients wait instead"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--fallback", "503", "--min-uptime", "10ms", "--",
                *server()) as m:
        m.wait_ready()
        for _ in range(5):
            time.sleep(0.1)  # a stable run
            os.kill(m.in_slot(0), signal.SIGKILL)
            equal(ask_status(m.address()).status, 200, "status")
        equal(m.count_log(ACTIVE), 0, "times that the master answered")


def test_slow_start():
    """A worker that takes long to start: 503 meanwhile, also at the very first start"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--fallback", "503", "--", *server("--start-delay=4000")) as m:
        expect_503(ask_status(m.address()))
        check(not m.is_ready(), "it was ready already")
        m.wait_ready()
        equal(ask_status(m.address()).status, 200, "status")


def test_broken():
    """With all breakers open clients are told the time until the next trial"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--fallback", "503", "--backoff", "1ms", "--backoff-max",
                "1ms", "--breaker-failures", "2", "--breaker-cooldown", "1h", "--",
                *server("--crash-start=3")) as m:
        m.wait_log(ACTIVE)
        wait_until(lambda: int(ask_status(m.address()).headers["retry-after"]) > 2000, "both are broken")
        equal(m.health("/healthz/liveness").status, 503, "liveness")


def test_off():
    """Without the setting clients wait for the worker"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server("--start-delay=2500")) as m:
        equal(ask_status(m.address()).status, 200, "status")


def test_bad_clients():
    """Half requests, garbage, silence, endless bodies and clients that never read or close"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--fallback", "503", "--backoff-max", "1s", "--",
                *server("--crash-start=3")) as m:
        m.wait_log(ACTIVE)
        for data in (b"GET / HT", b"\0\xff\r\n\r\n", b"", b"\x16\x03\x01\x00\xa5\x01"):
            expect_503(ask_status(m.address(), data))
        expect_503(ask_status(m.address(), b"POST / HTTP/1.1\r\nContent-Length: 400000\r\n\r\n" +
                              b"x" * 400000))
        deaf = [connect(m.address()) for _ in range(300)]
        for sock in deaf:
            sock.sendall(REQUEST)
        for _ in range(20):
            expect_503(ask_status(m.address()))
        for sock in deaf:
            equal(parse_reply(read_all(sock)).status, 503, "what the deaf were told")
            sock.close()
        equal(m.health("/healthz/liveness").status, 200, "liveness")


def test_endless_client():
    """One that sends without end is cut off, and the others are answered"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--fallback", "503", "--backoff-max", "1s", "--",
                *server("--crash-start=3")) as m:
        m.wait_log(ACTIVE)
        sock = connect(m.address())
        ended = threading.Event()

        def send():
            try:
                while True:
                    sock.sendall(b"x" * 65536)
            except OSError:
                ended.set()
        sender = threading.Thread(target=send)
        sender.start()
        while not ended.is_set():
            expect_503(ask_status(m.address()))
        sender.join()
        sock.close()


def expect_both_ways(m, path, address):
    """503 while down, 200 when up again."""
    start = m.mark()
    down(path)
    kill_all(m)
    m.wait_log(ACTIVE, start)
    expect_503(ask_status(address))
    os.unlink(path)
    m.wait_log(OVER, start)
    equal(ask_status(address).status, 200, "status")


def test_kinds_of_listeners():
    """TCP and Unix sockets, one for each worker and shared ones, twice in a row; UDP is left alone"""
    path, command = switch()
    unix = os.path.join(folder(), "web.sock")
    text = pool(command=command, workers=2, fallback="503", min_uptime="10ms", backoff_max="300ms",
                breaker_failures=0, listen=["127.0.0.1:0", f"unix:{unix}", "udp:127.0.0.1:0"])
    for accept in ("per-worker", "shared"):
        with Master(config=text + f"accept = {accept}\n") as m:
            m.wait_ready()
            expect_both_ways(m, path, m.address())
            expect_both_ways(m, path, f"unix:{unix}")


def test_unlisted_address():
    """An address that only the workers know is answered for as well, once a worker listened"""
    path = os.path.join(folder(), "down")
    script = (f'import os, sys, time, http.server as h\n'
              f'if os.path.exists("{path}"): sys.exit(3)\n'
              f'h.HTTPServer(("127.0.0.1", int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()\n')
    port = free_port()
    with Master("-w", "1", "--fallback", "503", "--min-uptime", "10ms", "--backoff-max", "300ms",
                "--breaker-failures", "0", "--", "python3", write("app.py", script), str(port)) as m:
        m.wait_ready()
        wait_listens(f"127.0.0.1:{port}")
        if m.count_log("adoption does not work"):
            skip("no adoption here: the master has no socket")
        m.wait_log("sharing it with all workers")
        expect_both_ways(m, path, f"127.0.0.1:{port}")


def test_stop():
    """A stop while nobody is ready: the master answers no more and ends"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--fallback", "503", "--", *server("--crash-start=3")) as m:
        m.wait_log(ACTIVE)
        expect_503(ask_status(m.address()))
        equal(m.stop(), 0, "exit status")


def test_reload():
    """The setting is taken over by a reload, in both directions; a good command ends the 503"""
    text = pool(command=server("--crash-start=3"), workers=1, listen="127.0.0.1:0", backoff_max="300ms")
    with Master(config=text) as m:
        m.wait_log(r"failed start")
        stays(lambda: not m.count_log(ACTIVE), 1.5, "the fallback is off")
        good = pool(workers=1, listen="127.0.0.1:0", backoff_max="300ms", fallback="503")
        m.write_config(good)
        m.reload()
        equal(ask_status(m.address()).status, 200, "status")
