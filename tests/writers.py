"""A process of its own that writes events with many threads, and says on its output what it tries and what is done.

    python writers.py URL NAME THREADS EVENTS

NAME stands in front of the keys; EVENTS are written by each thread, 0 means until the process is killed.
"""

from __future__ import annotations

import os
import sys
import threading

import msgspec

from undrift.core import Actor, Context, SystemClock, operation
from undrift.events import EventLog
from undrift.metastore import open_database


class Add(msgspec.Struct, frozen=True):
    key: str


@operation("probes.add", permission="probes:write", emits=("probe.added",))
def add(ctx: Context, request: Add) -> Add:
    """Add a probe: one event, which is how a test finds it again."""
    with ctx.begin():
        ctx.emit("probe.added", f"probes/{request.key}", project="p")
    return request


class AllowAll:
    def check(self, actor, permission):
        pass


def context(database, key=None):
    return Context(
        actor=Actor("writer"),
        clock=SystemClock(),
        database=database,
        repository=None,
        policy=AllowAll(),
        events=EventLog(),
        idempotency_key=key,
    )


def main(url, name, threads, events):
    database = open_database(url)

    def write(thread):
        count = 0
        while not events or count < events:
            count += 1
            key = f"{name}-{thread}-{count}"
            os.write(1, f"try {key}\n".encode())
            add(context(database, key), Add(key))
            os.write(1, f"done {key}\n".encode())

    running = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
