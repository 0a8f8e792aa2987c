"""The threads of a run that talk to the disk and to the hub, so that the thread that trains talks to neither."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from undrift.core.errors import UndriftError
from undrift.recorder.delivery import Delivery, is_lasting, said_by
from undrift.recorder.place import Place
from undrift.recorder.records import Points, Record, Said, Series, encode, usable_name, word
from undrift.recorder.spool import Spool

if TYPE_CHECKING:
    from undrift.client import Client

__all__ = ["WIDE", "Account", "Lane", "Logged", "Writer", "delivered", "left_behind"]

_log = logging.getLogger("undrift.recorder")

_EVERY_S = 0.1
_SYNC_EVERY_S = 1.0
_SAY_EVERY_S = 10.0
_CHUNK = 1_000
_LONGEST_WAIT_S = 30.0
# Not the global one: whoever trains with a seed gets the same numbers with a recorder and without.
_JITTER = random.Random()  # noqa: S311 - no secret


class Account:
    """What could not be kept or sent, by kind; each kind is warned of once."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lock = threading.RLock()

    def add(self, kind: str, count: int, warning: str) -> None:
        """Count, and warn when it is the first time."""
        with self._lock:
            first = kind not in self._counts
            self._counts[kind] = self._counts.get(kind, 0) + count
        if first:
            _log.warning("%s Further ones are only counted (undrift.%s).", warning, kind)

    def counts(self) -> dict[str, int]:
        """Return the counts so far."""
        with self._lock:
            return dict(self._counts)


class Logged(msgspec.Struct, gc=False):
    """Values that wait in memory to be written.

    The garbage collector need not look at it, for it holds but numbers. A hundred thousand tuples would have it look at
    every object of the process now and then: a tenth of a second in which nothing trains.
    """

    ms: int
    step: int
    values: dict[str, float]


class Writer:
    """Takes what a run says out of memory and appends it to its journal.

    Args:
        spool: The run's folder.
        account: What is counted.
        on_written: Called after lines were appended.

    Attributes:
        queue: What waits in memory: values, a record to write, or an event to set when all
            before it is on disk.
        wide_points: How many points of uncommonly wide entries wait.
        wake: Set to have it look at once.
        finished: Set when it was stopped and all is written.
    """

    def __init__(self, spool: Spool, account: Account, on_written: Callable[[], None]) -> None:
        self.queue: deque[Any] = deque()
        self.wide_points = 0
        self.wake = threading.Event()
        self.finished = threading.Event()
        self._spool = spool
        self._account = account
        self._on_written = on_written
        self._said: dict[str, int] = {}
        self._said_at = time.monotonic()
        self._synced_at = 0.0
        self._stopped = False
        self._good_names: dict[Any, str] = {}
        self._thread = threading.Thread(target=self._run, name="undrift-writer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after what waits was written; nothing may be put after this."""
        self._stopped = True
        self.wake.set()

    def _run(self) -> None:
        while True:
            self.wake.wait(_EVERY_S)
            self.wake.clear()
            stopped = self._stopped
            try:
                self._drain()
                self._say_counts(force=stopped)
            except Exception:  # noqa: BLE001 - the thread must live on, whatever it was
                _log.exception("The writer of a run failed, and goes on")
            if stopped and not self.queue:
                self._spool.sync()
                self.finished.set()
                self._on_written()
                return

    def _drain(self) -> None:
        wrote = False
        if self.queue:
            self._spool.ensure()
        while self.queue:
            series: dict[str, Series] = {}
            points = 0
            while self.queue and points < _CHUNK:
                entry = self.queue.popleft()
                if type(entry) is Logged:
                    points += self._gather(series, entry.ms, entry.step, entry.values)
                    continue
                self._append_points(series, points)
                series, points = {}, 0
                if isinstance(entry, threading.Event):
                    self._spool.sync()
                    entry.set()
                else:
                    self._append(entry)
            self._append_points(series, points)
            wrote = True
        if wrote:
            self._on_written()
        now = time.monotonic()
        if now - self._synced_at >= _SYNC_EVERY_S:
            self._synced_at = now
            self._spool.sync()

    def _gather(self, series: dict[str, Series], ms: int, step: int, values: dict[str, float]) -> int:
        for name, value in values.items():
            good = self._good_names.get(name) or self._good_name(name)
            if not good:
                continue
            column = series.get(good)
            if column is None:
                column = series[good] = Series([], [], [])
            column.steps.append(step)
            column.times_ms.append(ms)
            column.values.append(value if value - value == 0.0 else word(value))
        if len(values) > WIDE:
            self.wide_points -= len(values)
        return len(values)

    def _good_name(self, name: Any) -> str:
        try:
            good = usable_name(name)
        except Exception:  # noqa: BLE001 - whatever stands where a name should
            self._account.add("bad_values", 1, f"{repr(name)[:80]} cannot name a metric.")
            return ""
        if good != name:
            self._account.add("renamed", 1, f"Metric {name[:80]!r} is kept as {good!r}: it has signs that no name has.")
        if len(self._good_names) < 100_000:
            self._good_names[name] = good
        return good

    def _append_points(self, series: dict[str, Series], points: int) -> None:
        if series and not self._spool.records.append(encode(Points(series))):
            self._account.add(
                "dropped_points", points, f"{points} points were dropped: {self._spool.lacks() or 'too many wait'}."
            )

    def _append(self, record: Record) -> None:
        try:
            line = encode(record)
        except Exception as error:  # noqa: BLE001 - whatever stands in it
            self._account.add("bad_values", 1, f"What the run says cannot be written: {error}.")
            return
        if not self._spool.records.append(line, must=True):
            self._account.add("dropped_words", 1, "There is no room to keep what the run says.")

    def _say_counts(self, *, force: bool) -> None:
        counts = self._account.counts()
        if counts == self._said or (not force and time.monotonic() - self._said_at < _SAY_EVERY_S):
            return
        self._said, self._said_at = counts, time.monotonic()
        self._append(Said(tags={f"undrift.{kind}": str(count) for kind, count in counts.items()}))
        self._on_written()


WIDE = 20
"""An entry with more values than this counts by its values, not as one."""


class Lane:
    """Sends one journal of a run in a thread of its own, for as long as the process lives.

    Args:
        place: Where to.
        name: Of the thread.
        send: Sends a batch, and says whether there was one.
        finished: Whether nothing more will come once nothing is left; then `on_finished` is called once.
        on_finished: What comes last.
        on_left: Called once when the thread ends without having sent all, as `leave` asked it to.

    Attributes:
        trouble: What the last attempt failed of; empty when it did not.
        failing_since: Since when no attempt went well; None when the last one did.
        gone: Set when all was sent and the thread has ended.
        left: Set when the thread has ended without that.
        wake: Set to have it look.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        send: Callable[[Client], bool],
        finished: Callable[[], bool],
        on_finished: Callable[[Client], None],
        on_left: Callable[[], None],
    ) -> None:
        self.trouble = ""
        self.failing_since: float | None = None
        self.gone = threading.Event()
        self.left = threading.Event()
        self.wake = threading.Event()
        self._place = place
        self._send = send
        self._finished = finished
        self._on_finished = on_finished
        self._on_left = on_left
        self._leaving = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def hurry(self) -> None:
        """Try at once, and soon again, for the process is about to end."""
        self._hurry.set()
        self.wake.set()

    def relax(self) -> None:
        """Take the time again that it takes: nobody waits any more."""
        self._hurry.clear()

    def leave(self) -> None:
        """Try no more, once an attempt has failed or there is nothing to send now: somebody else will send the rest."""
        self._leaving.set()
        self.hurry()

    def is_dead(self, seconds: float) -> bool:
        """Say whether no attempt went well for so long."""
        return self.failing_since is not None and time.monotonic() - self.failing_since >= seconds

    def _run(self) -> None:
        client: Client | None = None
        wait = 0.5
        try:
            while True:
                try:
                    if client is None:
                        client = self._place.connect()
                    while self._send(client):
                        self._well()
                    self._well()
                    wait = 0.5
                    if self._finished():
                        self._on_finished(client)
                        self.gone.set()
                        return
                    if self._leaving.is_set():
                        break
                    self.wake.wait()
                    self.wake.clear()
                    # A little later more will have come, and goes in the same call.
                    self._hurry.wait(0.2)
                except Exception as error:  # noqa: BLE001 - whatever it was, it is tried again
                    self._failed(error)
                    if self._leaving.is_set():
                        break
                    # Not all at the same moment when a hub comes back.
                    pause = wait * _JITTER.uniform(0.75, 1.25)
                    if self._hurry.is_set():
                        time.sleep(min(pause, 0.5))
                    else:
                        self._hurry.wait(pause)
                    wait = min(wait * 2, _LONGEST_WAIT_S)
        finally:
            if client is not None:
                with suppress(Exception):
                    client.close()
        self.left.set()
        self._on_left()

    def _well(self) -> None:
        if self.failing_since is not None and time.monotonic() - self.failing_since > 5:
            _log.warning("%s answers again; what waited is sent.", self._place.target)
        self.failing_since = None
        self.trouble = ""

    def _failed(self, error: Exception) -> None:
        self.trouble = said_by(error)
        if self.failing_since is None:
            self.failing_since = time.monotonic()
            _log.warning(
                "What the run says cannot be sent to %s now, and is kept here: %s%s",
                self._place.target,
                self.trouble,
                "" if not is_lasting(error) else " " + (error.next_step if isinstance(error, UndriftError) else ""),
            )
        if not isinstance(error, UndriftError):
            _log.debug("A batch could not be sent", exc_info=error)


def delivered(delivery: Delivery) -> bool:
    """Say whether nothing of a run waits any more."""
    return delivery.spool.records.waiting_bytes == 0 and delivery.spool.files.waiting_bytes == 0


def left_behind(folder: Path) -> int:
    """Return how many bytes lie in a folder."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(above, name)).st_size  # noqa: PTH118 - quick
    return total
