"""Webhooks and what is on its way to them, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from undrift.core.ids import new_id
from undrift.events.webhooks.model import Attempt, Delivery, DeliveryState, Outgoing, Webhook
from undrift.events.webhooks.tables import deliveries, webhooks
from undrift.metastore import to_struct

__all__ = [
    "Subscriber",
    "active_subscribers",
    "add_webhook",
    "change_webhook",
    "claim",
    "count_webhooks",
    "delete_webhook",
    "due_webhooks",
    "enqueue",
    "expire",
    "find_delivery",
    "find_webhook",
    "list_deliveries",
    "list_webhooks",
    "prune",
    "record_attempt",
    "requeue",
    "secrets_of",
]

_MOST_TRIES_KEPT = 20


class Subscriber(msgspec.Struct, frozen=True):
    """What has to be known of a webhook to say whether an event is for it."""

    id: str
    project: str
    format: str
    event_types: tuple[str, ...]
    mlflow_events: tuple[str, ...]
    start_position: int


_SHOWN: list[sa.ColumnElement[Any]] = [webhooks.c[name] for name in Webhook.__struct_fields__ if name != "has_secret"]
_SHOWN += [(webhooks.c.secret != "").label("has_secret")]
_SUBSCRIBER = [webhooks.c[name] for name in Subscriber.__struct_fields__]
_DELIVERY = [deliveries.c[name] for name in Delivery.__struct_fields__]


def _webhook(row: sa.RowMapping) -> Webhook:
    # SQLite says 0 and 1.
    return to_struct({**row, "has_secret": bool(row["has_secret"])}, Webhook)  # type: ignore[arg-type]


def _delivery(row: sa.RowMapping) -> Delivery:
    return to_struct(row, Delivery)


def add_webhook(tx: sa.Connection, webhook: Webhook, *, secret: str, start_position: int) -> None:
    """Add a webhook that gets what happens after a position."""
    values = msgspec.structs.asdict(webhook)
    del values["has_secret"]
    tx.execute(sa.insert(webhooks).values(**values, secret=secret, previous_secret="", start_position=start_position))


def count_webhooks(tx: sa.Connection, project: str) -> int:
    """Return how many webhooks a project has."""
    return tx.scalar(sa.select(sa.func.count()).select_from(webhooks).where(webhooks.c.project == project)) or 0


def find_webhook(tx: sa.Connection, webhook_id: str) -> Webhook | None:
    """Return a webhook, without its secret."""
    row = tx.execute(sa.select(*_SHOWN).where(webhooks.c.id == webhook_id)).mappings().first()
    return None if row is None else _webhook(row)


def list_webhooks(tx: sa.Connection, project: str | None, *, before: str | None, limit: int) -> list[Webhook]:
    """Return webhooks, newest first."""
    query = sa.select(*_SHOWN).order_by(webhooks.c.id.desc()).limit(limit)
    if project is not None:
        query = query.where(webhooks.c.project == project)
    if before is not None:
        query = query.where(webhooks.c.id < before)
    return [_webhook(row) for row in tx.execute(query).mappings()]


def change_webhook(tx: sa.Connection, webhook_id: str, values: dict[str, Any]) -> None:
    """Change columns of a webhook."""
    tx.execute(sa.update(webhooks).where(webhooks.c.id == webhook_id).values(**values))


def delete_webhook(tx: sa.Connection, webhook_id: str) -> None:
    """Delete a webhook and what is on its way to it."""
    tx.execute(sa.delete(deliveries).where(deliveries.c.webhook_id == webhook_id))
    tx.execute(sa.delete(webhooks).where(webhooks.c.id == webhook_id))


def secrets_of(tx: sa.Connection, webhook_id: str, now: datetime) -> tuple[str, ...]:
    """Return what bodies are signed with: the secret, and the one before it while that is still valid."""
    row = tx.execute(
        sa.select(webhooks.c.secret, webhooks.c.previous_secret, webhooks.c.previous_until).where(
            webhooks.c.id == webhook_id
        )
    ).one()
    return _valid(row.secret, row.previous_secret, row.previous_until, now)


def _valid(secret: str, previous: str, until: datetime | None, now: datetime) -> tuple[str, ...]:
    if not secret:
        return ()
    return (secret, previous) if previous and until is not None and now < until else (secret,)


def active_subscribers(tx: sa.Connection) -> list[Subscriber]:
    """Return what is needed to say for whom an event is."""
    query = sa.select(*_SUBSCRIBER).where(webhooks.c.status == "ACTIVE")
    return [to_struct(row, Subscriber) for row in tx.execute(query).mappings()]


def enqueue(tx: sa.Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Add deliveries to webhooks that are still there; returns how many."""
    there = set(tx.scalars(sa.select(webhooks.c.id)))
    wanted = [row for row in rows if row["webhook_id"] in there]
    if wanted:
        tx.execute(sa.insert(deliveries), wanted)
    return len(wanted)


def due_webhooks(tx: sa.Connection, now: datetime) -> list[tuple[str, int]]:
    """Return webhooks that something is due for, with how often they failed in a row; the healthy ones first."""
    due = sa.exists().where(
        deliveries.c.webhook_id == webhooks.c.id,
        deliveries.c.state == "waiting",
        deliveries.c.next_attempt_at <= now,
    )
    query = (
        sa.select(webhooks.c.id, webhooks.c.failures)
        .where(*_free(now), due)
        .order_by(webhooks.c.failures, webhooks.c.last_attempt_at.is_not(None), webhooks.c.last_attempt_at)
    )
    return [(row.id, row.failures) for row in tx.execute(query)]


def _free(now: datetime) -> list[sa.ColumnElement[bool]]:
    return [
        webhooks.c.status == "ACTIVE",
        sa.or_(webhooks.c.paused_until.is_(None), webhooks.c.paused_until <= now),
        sa.or_(webhooks.c.claimed_until.is_(None), webhooks.c.claimed_until <= now),
    ]


def claim(tx: sa.Connection, webhook_id: str, now: datetime, *, lease_s: float) -> Outgoing | None:
    """Take what is due next for a webhook, for so many seconds; None when nothing is, or somebody else sends to it."""
    hook = sa.select(webhooks).where(webhooks.c.id == webhook_id, *_free(now))
    if tx.dialect.name == "postgresql":
        # Two workers on one database take turns here.
        hook = hook.with_for_update()
    found = tx.execute(hook).first()
    if found is None:
        return None
    query = (
        sa.select(deliveries)
        .where(
            deliveries.c.webhook_id == webhook_id,
            deliveries.c.state == "waiting",
            deliveries.c.next_attempt_at <= now,
        )
        .order_by(deliveries.c.next_attempt_at, deliveries.c.position, deliveries.c.part)
        .limit(1)
    )
    row = tx.execute(query).first()
    if row is None:
        return None
    token = new_id()
    change_webhook(tx, webhook_id, {"claim": token, "claimed_until": now + timedelta(seconds=lease_s)})
    return Outgoing(
        id=row.id,
        claim=token,
        webhook_id=webhook_id,
        url=found.url,
        # As it was wanted when the event was queued: the webhook may have changed its mind since.
        format="mlflow" if row.mlflow_event else "cloudevents",
        secrets=_valid(found.secret, found.previous_secret, found.previous_until, now),
        position=row.position,
        part=row.part,
        mlflow_event=row.mlflow_event,
        data=row.data,
        round=row.round,
        tries=msgspec.convert(row.tries, tuple[Attempt, ...]),
    )


def record_attempt(
    tx: sa.Connection,
    outgoing: Outgoing,
    attempt: Attempt,
    *,
    state: DeliveryState,
    at: datetime,
    next_attempt_at: datetime | None,
) -> Webhook | None:
    """Keep how an attempt went; returns the webhook as it is now, or None when it was no longer this sender's.

    Args:
        tx: An open transaction.
        outgoing: What was sent.
        attempt: How it went.
        state: What has become of the delivery.
        at: When the attempt had ended.
        next_attempt_at: When to try again, while it waits.
    """
    mine = (webhooks.c.id == outgoing.webhook_id, webhooks.c.claim == outgoing.claim)
    success = state == "delivered"
    values: dict[str, Any] = {
        "claim": None,
        "claimed_until": None,
        "last_attempt_at": attempt.at,
        "last_status": attempt.status,
        "failures": 0 if success else webhooks.c.failures + 1,
    }
    if success:
        values |= {"last_delivered_at": at, "delivered": webhooks.c.delivered + 1, "paused_until": None}
    if state == "dead":
        values["dead"] = webhooks.c.dead + 1
    if tx.execute(sa.update(webhooks).where(*mine).values(**values)).rowcount != 1:
        # It was deleted, or this took so long that somebody else has it.
        return None
    tx.execute(
        sa.update(deliveries)
        .where(deliveries.c.id == outgoing.id)
        .values(
            state=state,
            round=outgoing.round + 1,
            attempts=deliveries.c.attempts + 1,
            tries=[*outgoing.tries, attempt][-_MOST_TRIES_KEPT:],
            next_attempt_at=next_attempt_at,
            ended_at=None if state == "waiting" else at,
        )
    )
    return find_webhook(tx, outgoing.webhook_id)


def list_deliveries(
    tx: sa.Connection, webhook_id: str, *, state: str | None, before: tuple[int, int] | None, limit: int
) -> list[tuple[Delivery, int]]:
    """Return deliveries with their part of the event, newest event first."""
    query = (
        sa.select(*_DELIVERY, deliveries.c.part)
        .where(deliveries.c.webhook_id == webhook_id)
        .order_by(deliveries.c.position.desc(), deliveries.c.part.desc())
        .limit(limit)
    )
    if state is not None:
        query = query.where(deliveries.c.state == state)
    if before is not None:
        position, part = before
        query = query.where(
            sa.or_(
                deliveries.c.position < position,
                sa.and_(deliveries.c.position == position, deliveries.c.part < part),
            )
        )
    return [(_delivery(row), row["part"]) for row in tx.execute(query).mappings()]


def find_delivery(tx: sa.Connection, delivery_id: str) -> Delivery | None:
    """Return a delivery."""
    row = tx.execute(sa.select(*_DELIVERY).where(deliveries.c.id == delivery_id)).mappings().first()
    return None if row is None else _delivery(row)


def requeue(tx: sa.Connection, delivery_id: str, now: datetime, expires_at: datetime) -> None:
    """Make a delivery due now, with all its attempts before it."""
    tx.execute(
        sa.update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(state="waiting", round=0, next_attempt_at=now, ended_at=None, expires_at=expires_at)
    )


def expire(tx: sa.Connection, now: datetime) -> dict[str, int]:
    """Give up what could not be sent for too long; returns how many for each webhook."""
    sending = sa.select(webhooks.c.id).where(webhooks.c.claimed_until > now)
    late = sa.and_(
        deliveries.c.state == "waiting",
        deliveries.c.expires_at <= now,
        deliveries.c.webhook_id.not_in(sending),
    )
    query = sa.select(deliveries.c.webhook_id, sa.func.count().label("late")).where(late)
    found = {row.webhook_id: row.late for row in tx.execute(query.group_by(deliveries.c.webhook_id))}
    if found:
        tx.execute(sa.update(deliveries).where(late).values(state="dead", ended_at=now, next_attempt_at=None))
    for webhook_id, count in found.items():
        change_webhook(tx, webhook_id, {"dead": webhooks.c.dead + count})
    return found


def prune(tx: sa.Connection, *, delivered_before: datetime, dead_before: datetime) -> None:
    """Forget what has long been delivered or given up."""
    for state, before in (("delivered", delivered_before), ("dead", dead_before)):
        tx.execute(sa.delete(deliveries).where(deliveries.c.state == state, deliveries.c.ended_at < before))
