"""How many events a second are appended with full sync, by 1 and by 16 writers, each waiting for its own commit.

python benchmarks/events.py [postgresql://user@host/name]
"""

import sys
import tempfile
import threading
import time

from figures import figure

from undrift.core import Actor, Context, SystemClock
from undrift.events import EventLog, VerifyLog, verify_log
from undrift.governance import WorkspaceOwner
from undrift.metastore import migrate, open_database

SECONDS = 2.0
RUNS = 5


def context(database) -> Context:
    return Context(
        actor=Actor("benchmark"),
        clock=SystemClock(),
        database=database,
        repository=None,
        policy=WorkspaceOwner(),
        events=EventLog(),
    )


def appended(database, writers: int) -> float:
    counts = [0] * writers
    stop = time.perf_counter() + SECONDS

    def write(place: int) -> None:
        while time.perf_counter() < stop:
            ctx = context(database)
            with ctx.begin():
                ctx.emit("benchmark.event", "benchmark/1", project="benchmark", place=place)
            counts[place] += 1

    threads = [threading.Thread(target=write, args=(place,)) for place in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/events.db"
        database = open_database(url)
        migrate(database)
        for writers in (1, 16):
            values = [appended(database, writers) for _ in range(RUNS)]
            figure("events appended, full sync", values, "1/s", writers=writers, engine=url.split(":")[0])
        started = time.perf_counter()
        found = verify_log(context(database), VerifyLog())
        if not found.ok:
            raise SystemExit(found.problem)
        figure("events verified", [found.events / (time.perf_counter() - started)], "1/s", engine=url.split(":")[0])
        database.close()


if __name__ == "__main__":
    main()
