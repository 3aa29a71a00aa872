"""Adoption: servers of all kinds, unmodified, share one port."""
import proc
from harness import QUICK, Hammer, Master, check, equal, free_port, need_ipv6, pool, timeout
from servers import SERVERS, wait_listens

WORKERS = 3
NOT_ADOPTED = r"adoption does not work|cannot share"


def arguments(port, listed):
    return ["-l", f"127.0.0.1:{port}"] if listed else []


def share(server, listed):
    """Starts three and waits for an answer of each."""
    port = free_port()
    with Master("-w", str(WORKERS), "--stop-signal", server.stop_signal, *arguments(port, listed),
                "--", *server.command("127.0.0.1", port)) as m:
        m.ports.add(port)
        m.wait_ready()
        server.wait_slots(m, f"127.0.0.1:{port}", WORKERS)
        equal(proc.listeners(port), WORKERS, "sockets on the port")
        equal(m.count_log(NOT_ADOPTED), 0, "complaints")
        equal(m.count_log("failed start"), 0, "failed starts")
        if server.wildcard and not listed:
            need_ipv6()
            server.wait_slots(m, f"[::1]:{port}", WORKERS)


def reload_under_load(server, listed):
    port = free_port()
    config = pool(command=server.command("127.0.0.1", port), workers=2, min_uptime="20ms",
                  stop_signal=server.stop_signal,
                  listen=[f"127.0.0.1:{port}"] if listed else [])
    with Master(config=config) as m:
        m.ports.add(port)
        m.wait_ready()
        wait_listens(f"127.0.0.1:{port}", 2)
        with Hammer(f"127.0.0.1:{port}", clients=16, rate=1000, seconds=150) as load:
            for _ in range(3 if QUICK else 10):
                m.reload()
            result = load.expect_clean()
        check(len(result["pids"]) > 2, f"workers that answered: {result['pids']}")
        equal(proc.listeners(port), 2, "sockets on the port")


def define(name, line, function, *args):
    @timeout(180)
    def test():
        function(*args)
    test.__doc__ = line
    globals()[f"test_{name}"] = test


for each in SERVERS:
    define(f"listed_{each.name}", f"3 x {each.name} with --listen: all answer", share, each, True)
    define(f"unlisted_{each.name}", f"3 x {each.name} without --listen: all answer", share, each,
           False)
for each in SERVERS:
    if each.drains:
        define(f"reload_listed_{each.name}",
               f"Reloads of {each.name} with --listen under load: 0 failed",
               reload_under_load, each, True)
        define(f"reload_unlisted_{each.name}",
               f"Reloads of {each.name} without --listen under load: 0 failed",
               reload_under_load, each, False)
