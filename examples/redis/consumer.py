"""Takes jobs from the list "jobs"; one that is under way is in a list of this slot's own, so that the
slot's next worker finds it after a crash."""
import os
import signal

import redis

MINE = f"jobs:slot{os.environ['PREFORK_SLOT']}"
stopping = False


def stop(_signo, _frame):
    global stopping
    stopping = True


def work(job):
    server.rpush("done", f"{job.decode()} by slot {os.environ['PREFORK_SLOT']}")


signal.signal(signal.SIGTERM, stop)
server = redis.Redis("127.0.0.1", int(os.environ.get("REDIS_PORT", "6379")))
while job := server.lmove(MINE, "jobs", "LEFT", "RIGHT"):
    pass
while not stopping:
    job = server.blmove("jobs", MINE, 1, "LEFT", "RIGHT")
    if job is not None:
        work(job)
        server.lrem(MINE, 1, job)
