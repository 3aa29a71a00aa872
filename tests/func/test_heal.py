"""Sockets that workers damage, and what the master makes good."""
import proc
from harness import QUICK, Hammer, Master, ask, check, diag, equal, parse_who, server, timeout, wait_until

HEALED = r"a worker shut the socket of .* down: it listens again"


def hurt(m, path):
    """Asks a worker to do `path` to its socket; who it was."""
    return parse_who(ask(m.address(), path))


def test_shutdown():
    """A worker that shuts its socket down goes on serving with it; nobody is refused"""
    with Master("-w", "3", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        for path in ("/shutdown", "/disconnect", "/shutdown"):
            who = hurt(m, path)
            # said at once, or counted in a later line when it was said a moment ago
            wait_until(lambda: proc.listeners(m.port()) == 3, "three sockets listen")
            for _ in range(30):
                m.who()
            equal(m.wait_slots(3)[who.slot], who.pid, f"the worker after {path}")
        check(m.count_log(HEALED) >= 1, "the log says nothing")


def test_shutdown_alone():
    """The only worker's socket is healed, with its discovered address too"""
    for options in (("-l", "127.0.0.1:0"), ("-l", "[::1]:0"), ("-l", "127.0.0.1:0", "--accept", "shared")):
        with Master("-w", "1", *options, "--", *server()) as m:
            m.wait_ready()
            who = hurt(m, "/shutdown")
            m.wait_log(HEALED)
            equal(m.who().pid, who.pid, "the worker that answers")


def test_shutdown_for_ever():
    """A worker that shuts its socket down again and again costs a few heals a second and log lines"""
    with Master("-w", "1", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        before = proc.cpu_seconds(m.pid)
        for _ in range(20):
            try:
                hurt(m, "/shutdown")
            except OSError:
                pass  # it comes while nobody listens
        wait_until(lambda: proc.listeners(m.port()) == 1, "it listens again")
        m.who()
        diag(f"20 times: {proc.cpu_seconds(m.pid) - before:.2f} s of the master's time, "
             f"{m.count_log(HEALED)} lines in the log")
        check(m.count_log(HEALED) < 10, "too many lines in the log")


@timeout(120)
def test_reload_of_workers_that_shut_down():
    """Workers that shut their sockets down when told to stop: a reload refuses nobody"""
    reloads = 2 if QUICK else 5
    with Master("-w", "4", "-l", "127.0.0.1:0", "--min-uptime", "10ms", "--",
                *server("--shutdown-at-term")) as m:
        m.wait_ready()
        with Hammer(m.address(), clients=8, seconds=100) as load:
            for _ in range(reloads):
                m.reload()
            result = load.show()
        equal(result["refused"], 0, "refused connections")
        # what waits in a queue is lost with it where the kernel cannot move it
        check(result["failed"] <= 8 * 4 * reloads, f"{result['failed']} lost in {reloads} reloads")
        m.wait_table(4)


def test_steering_of_a_worker():
    """A worker's own program, which sends everyone to one socket, is undone"""
    with Master("-w", "3", "-l", "127.0.0.1:0", "--balance", "random", "--", *server()) as m:
        m.wait_ready()
        hurt(m, "/steer")
        m.wait_slots(3)


def test_filter_of_a_worker():
    """A filter that drops every connection to a worker is taken off"""
    with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        who = hurt(m, "/filter")

        def answered():
            try:
                return parse_who(ask(m.address(), timeout=0.3)).pid == who.pid
            except OSError:
                return False
        wait_until(answered, "an answer of the worker with the filter")
        m.wait_log("a worker had put a filter on a socket")
