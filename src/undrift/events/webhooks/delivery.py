"""Delivery: a consumer of the log that queues events for webhooks, and sends what is queued.

Queueing is one transaction with the consumer's offset, so no event is lost or queued twice. Sending holds no
transaction: a webhook is claimed for a while, called, and let go. Who dies in between is followed by another, who
sends under the same id. Each webhook that something is due for has a thread of its own for that time, so that a slow
one holds up nobody else; those that fail get at most half of the threads.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from undrift.core.context import Context
from undrift.core.errors import Invalid, Unavailable, UndriftError
from undrift.events import records as log
from undrift.events.model import Event
from undrift.events.reach import EVERYWHERE, Reach
from undrift.events.webhooks import addresses, records
from undrift.events.webhooks.addresses import Resolve
from undrift.events.webhooks.bodies import (
    Describe,
    MlflowMessage,
    cloudevents_body,
    mlflow_body,
    mlflow_messages,
    mlflow_types,
)
from undrift.events.webhooks.model import (
    Attempt,
    DeliveryReport,
    DeliveryState,
    Outgoing,
    delivery_id,
    headers_of,
    matches,
    may_help,
    pause_s,
    wait_s,
)
from undrift.events.webhooks.operations import LIFETIME, reach_of
from undrift.events.webhooks.records import Subscriber
from undrift.events.webhooks.sending import Answer, TlsOf, post, tls_of_system

__all__ = ["CONSUMER", "Courier", "deliver_due", "describe_nothing"]

CONSUMER = "webhooks"

_BATCH = 500
_BATCHES_A_TURN = 10
_TIMEOUT_S = 30.0
# Longer than looking up and sending take together.
_LEASE_S = 90.0
_LOOK_UP_S = 10.0
_LANE_S = 60.0
_TIDY_S = 60.0
_KEEP_DELIVERED = timedelta(days=7)
_KEEP_DEAD = timedelta(days=30)
_MOST_PROBLEMS = 20


def describe_nothing(_ctx: Context, _event: Event) -> dict[str, Any]:
    """Say of an event no more than the log does."""
    return {}


class _Tally:
    """Counts what several threads do, until somebody asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._report = DeliveryReport()

    def add(self, **more: Any) -> None:
        """Add to the counts; problems are kept up to a number."""
        with self._lock:
            now = self._report
            self._report = DeliveryReport(
                now.queued + more.get("queued", 0),
                now.delivered + more.get("delivered", 0),
                now.failed + more.get("failed", 0),
                now.dead + more.get("dead", 0),
                (*now.problems, *more.get("problems", ()))[:_MOST_PROBLEMS],
            )

    def take(self) -> DeliveryReport:
        """Return what was counted since the last time."""
        with self._lock:
            report, self._report = self._report, DeliveryReport()
            return report


class Courier:
    """Carries events to webhooks, a turn at a time; a turn waits for no receiver.

    Args:
        ctx_factory: Makes a context for each thread.
        reach: Which addresses that are not public may be reached; as the context says, when left out.
        describe: Says of a model or version what MLflow's format needs and the log does not hold.
        look_up: Looks up host names.
        tls: Says whom to trust.
        threads: How many webhooks are called at the same time.
        timeout_s: How long one call may take, in seconds.
    """

    def __init__(
        self,
        ctx_factory: Callable[[], Context],
        *,
        reach: Reach | None = None,
        describe: Describe = describe_nothing,
        look_up: Resolve = addresses.resolve,
        tls: TlsOf = tls_of_system,
        threads: int = 16,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._make = ctx_factory
        self._reach = reach
        self._describe = describe
        self._look_up = look_up
        # Reading the authorities takes longer than most calls.
        self._tls = functools.cache(tls)
        self._threads = threads
        self._timeout_s = timeout_s
        self._tally = _Tally()
        self._lanes: dict[str, tuple[threading.Thread, bool]] = {}
        self._stopping = threading.Event()
        self._tidied: datetime | None = None

    def turn(self, now: datetime) -> DeliveryReport:
        """Queue new events, start sending what is due, and say what was done since the last turn.

        Raises:
            UndriftError: The database is away or damaged.
        """
        ctx = self._make()
        try:
            self._queue(ctx, now)
            self._tidy(ctx, now)
        finally:
            # What was queued before is sent all the same.
            self._start(ctx, now)
        return self._tally.take()

    def finish(self, now: datetime) -> DeliveryReport:
        """Send until nothing more is due at a moment; waits for all receivers."""
        ctx = self._make()
        while True:
            for thread, _ in list(self._lanes.values()):
                thread.join()
            if not self._start(ctx, now):
                return self._tally.take()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop after the calls that are under way, and wait for those a while.

        What is cut off is sent again by the next courier, under the same id.
        """
        self._stopping.set()
        end = time.monotonic() + timeout_s
        for thread, _ in list(self._lanes.values()):
            thread.join(max(0.0, end - time.monotonic()))

    def _queue(self, ctx: Context, now: datetime) -> None:
        for _ in range(_BATCHES_A_TURN):
            with ctx.read() as tx:
                position, newest = log.offset(tx, CONSUMER), log.head(tx).position
                if position >= newest:
                    return
                subscribers = records.active_subscribers(tx)
                # What happened before the first webhook was made need not be read.
                begin = max(position, min((one.start_position for one in subscribers), default=newest))
                events = log.read_after(tx, begin, limit=_BATCH)
            end = events[-1].position if events else newest
            rows = [row for event in events for row in self._rows(ctx, event, subscribers, now)]
            with ctx.begin() as tx:
                # Another worker may have been faster: what it has queued is not queued again.
                position = log.offset(tx, CONSUMER)
                if position >= end:
                    continue
                queued = records.enqueue(tx, [row for row in rows if row["position"] > position])
                log.advance(tx, CONSUMER, end)
            self._tally.add(queued=queued)

    def _rows(
        self, ctx: Context, event: Event, subscribers: Iterable[Subscriber], now: datetime
    ) -> Iterable[dict[str, Any]]:
        messages: list[MlflowMessage] | None = None
        for one in subscribers:
            if one.project != event.project or one.start_position >= event.position:
                continue
            row = {
                "webhook_id": one.id,
                "position": event.position,
                "event_id": event.id,
                "event_type": event.type,
                "state": "waiting",
                "round": 0,
                "attempts": 0,
                "tries": [],
                "next_attempt_at": now,
                "created_at": now,
                "expires_at": now + LIFETIME,
            }
            if one.format != "mlflow":
                if matches(one.event_types, event.type):
                    id_ = delivery_id(one.id, event, 0)
                    yield {**row, "id": id_, "part": 0, "mlflow_event": "", "data": None}
                continue
            if event.type not in mlflow_types(one.mlflow_events):
                continue
            if messages is None:
                messages = self._messages(ctx, event)
            for part, message in enumerate(messages):
                if message.event in one.mlflow_events:
                    id_ = delivery_id(one.id, event, part)
                    yield {**row, "id": id_, "part": part, "mlflow_event": message.event, "data": message.data}

    def _messages(self, ctx: Context, event: Event) -> list[MlflowMessage]:
        try:
            described = self._describe(ctx, event)
        except UndriftError as error:
            # The thing may be gone by now; what the log knows of it is told.
            self._tally.add(problems=(f"Event {event.id} ({event.type}) could not be described: {error}",))
            described = {}
        return mlflow_messages(event, described)

    def _tidy(self, ctx: Context, now: datetime) -> None:
        if self._tidied is not None and now < self._tidied + timedelta(seconds=_TIDY_S):
            return
        with ctx.begin() as tx:
            expired = records.expire(tx, now)
            records.prune(tx, delivered_before=now - _KEEP_DELIVERED, dead_before=now - _KEEP_DEAD)
        self._tidied = now
        for webhook_id, count in expired.items():
            said = f"Webhook {webhook_id}: {count} deliveries were given up, for it could not be reached for a day."
            self._tally.add(dead=count, problems=(said,))

    def _start(self, ctx: Context, now: datetime) -> bool:
        """Give each webhook that something is due for a thread, as far as there are some; returns whether it did."""
        self._lanes = {id_: lane for id_, lane in self._lanes.items() if lane[0].is_alive()}
        with ctx.read() as tx:
            due = records.due_webhooks(tx, now)
        started = False
        for webhook_id, failures in due:
            failing = failures > 0
            troubled = sum(lane[1] for lane in self._lanes.values())
            if webhook_id in self._lanes or (failing and troubled >= max(1, self._threads // 2)):
                continue
            if len(self._lanes) >= self._threads or self._stopping.is_set():
                break
            name = f"undrift-webhook-{webhook_id}"
            # A daemon: a receiver that is slow must not keep a worker from ending.
            thread = threading.Thread(target=self._lane, args=(webhook_id, now), name=name, daemon=True)
            self._lanes[webhook_id] = (thread, failing)
            thread.start()
            started = True
        return started

    def _lane(self, webhook_id: str, begin: datetime) -> None:
        began = time.monotonic()

        def now() -> datetime:
            return begin + timedelta(seconds=time.monotonic() - began)

        try:
            ctx = self._make()
            with ctx.begin() as tx:
                outgoing = records.claim(tx, webhook_id, now(), lease_s=_LEASE_S)
            while outgoing is not None:
                last = self._stopping.is_set() or time.monotonic() - began >= _LANE_S
                outgoing = self._deliver(ctx, outgoing, now, last=last)
        except Exception as error:  # noqa: BLE001 - told in the next turn's report; the lease ends by itself
            self._tally.add(problems=(f"Webhook {webhook_id}: {type(error).__name__}: {error}",))

    def _deliver(self, ctx: Context, outgoing: Outgoing, now: Callable[[], datetime], *, last: bool) -> Outgoing | None:
        """Make one attempt and keep how it went; returns what to send next to this webhook."""
        at, began = now(), time.monotonic()
        answer, final = self._call(ctx, outgoing, at)
        took = time.monotonic() - began
        ended = now()
        success = answer.status is not None and 200 <= answer.status < 300
        problem = "" if success else answer.problem or f"It answered {answer.status}."
        attempt = Attempt(at, round(took, 3), answer.status, problem)
        wait = None
        if not success and not final and may_help(answer.status):
            wait = wait_s(outgoing.format, outgoing.round + 1, answer.retry_after_s, _spread(outgoing))
        state: DeliveryState = "delivered" if success else "dead" if wait is None else "waiting"
        with ctx.begin() as tx:
            later = None if wait is None else ended + timedelta(seconds=wait)
            webhook = records.record_attempt(tx, outgoing, attempt, state=state, at=ended, next_attempt_at=later)
            if webhook is None:
                return None
            pause = pause_s(webhook.failures)
            if pause is not None:
                records.change_webhook(tx, webhook.id, {"paused_until": ended + timedelta(seconds=pause)})
            # In the same transaction: half as many flushes to disk.
            stop = last or self._stopping.is_set()
            following = None if stop else records.claim(tx, webhook.id, ended, lease_s=_LEASE_S)
        said = (f"Webhook {webhook.name!r}: a delivery was given up. {problem}",) if state == "dead" else ()
        self._tally.add(delivered=state == "delivered", failed=state == "waiting", dead=state == "dead", problems=said)
        return following

    def _call(self, ctx: Context, outgoing: Outgoing, at: datetime) -> tuple[Answer, bool]:
        """Return what came back, and whether trying again is of no use."""
        reach = reach_of(ctx) if self._reach is None else self._reach
        began = time.monotonic()
        look_up_s = min(_LOOK_UP_S, self._timeout_s)
        try:
            body = _body(ctx, outgoing)
            target = addresses.parse_url(outgoing.url)
            found = addresses.judge(target, reach, look_up=self._look_up, timeout_s=look_up_s)
        except Unavailable as error:
            return Answer(None, error.message), False
        except UndriftError as error:
            # The address may not be reached, or the event is damaged.
            return Answer(None, error.message), True
        headers = headers_of(outgoing, at, body)
        left = max(0.1, self._timeout_s - (time.monotonic() - began))
        return post(target, found, headers, body, now=at, timeout_s=left, tls=self._tls), False


def _spread(outgoing: Outgoing) -> float:
    # The same at each try, so that a replay gives the same times; different for each delivery.
    return int(outgoing.id[-4:], 16) / 0xFFFF


def _body(ctx: Context, outgoing: Outgoing) -> bytes:
    with ctx.read() as tx:
        events = log.read_after(tx, outgoing.position - 1, limit=1)
    if not events or events[0].position != outgoing.position:
        raise Invalid("The event is not in the log any more.")
    event: Event = events[0]
    if outgoing.format == "mlflow":
        return mlflow_body(MlflowMessage(outgoing.mlflow_event, outgoing.data or {}), event)
    return cloudevents_body(event)


def deliver_due(
    ctx_factory: Callable[[], Context],
    *,
    now: datetime,
    allow_private: bool = False,
    describe: Describe = describe_nothing,
    look_up: Resolve = addresses.resolve,
    tls: TlsOf = tls_of_system,
    timeout_s: float = _TIMEOUT_S,
) -> DeliveryReport:
    """Queue new events and send everything that is due at a moment; waits for all receivers.

    A worker that must not wait makes a `Courier` and lets it take turns.

    Args:
        ctx_factory: Makes a context for each thread.
        now: The moment.
        allow_private: Lets webhooks reach addresses that are not public; else it is as the context says.
        describe: Says of a model or version what MLflow's format needs and the log does not hold.
        look_up: Looks up host names.
        tls: Says whom to trust.
        timeout_s: How long one call may take, in seconds.

    Raises:
        UndriftError: The database is away or damaged.
    """
    reach = EVERYWHERE if allow_private else None
    courier = Courier(ctx_factory, reach=reach, describe=describe, look_up=look_up, tls=tls, timeout_s=timeout_s)
    first = courier.turn(now)
    rest = courier.finish(now)
    counts = (getattr(first, name) + getattr(rest, name) for name in DeliveryReport.__struct_fields__)
    return DeliveryReport(*counts)
