"""A master that does not run for a while: what its workers did meanwhile counts."""
import os
import signal

from harness import Master, equal, folder, pool, server, stays, wait_until, write


def pause(m, seconds):
    """As when a machine is paused, or the processors are taken away"""
    os.kill(m.pid, signal.SIGSTOP)
    stays(lambda: True, seconds, "the pause")
    os.kill(m.pid, signal.SIGCONT)


def test_watchdog():
    """A master that was paused for longer than the watchdog reads what came meanwhile, and aborts nobody"""
    with Master("-w", "3", "-l", "127.0.0.1:0", "--watchdog", "2s", "--",
                *server("--notify", "--pings=-1")) as m:
        m.wait_ready()
        before = m.workers()
        pause(m, 3.5)
        stays(lambda: m.count_log("watchdog") == 0, 1, "nobody is aborted")
        equal(m.workers(), before, "workers")


def test_start():
    """A worker that became ready while the master was paused was ready in time"""
    started, go = os.path.join(folder(), "started"), os.path.join(folder(), "go")
    command = ["/bin/sh", "-c", f"echo >{started}; while ! test -e {go}; do sleep 0.01; done; "
               f"exec {server()[0]} --notify"]
    with Master("-w", "1", "-l", "127.0.0.1:0", "--ready", "notify", "--start-timeout", "5s",
                config=pool(command=command)) as m:
        wait_until(lambda: os.path.exists(started), "a start")
        write("go", "")
        pause(m, 7)
        m.wait_ready()
        equal(m.count_log("not ready in time"), 0, "late starts")
