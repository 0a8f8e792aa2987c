"""What a webhook is, what is sent to it, and the rules of when it is tried again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from datetime import datetime
from typing import Any, Literal

import msgspec

from undrift.core.errors import Invalid, TooLarge
from undrift.core.ids import derive_id
from undrift.events.model import Event

__all__ = [
    "Attempt",
    "Delivery",
    "DeliveryReport",
    "DeliveryState",
    "Outgoing",
    "Webhook",
    "WebhookFormat",
    "WebhookStatus",
    "check_event_types",
    "check_secret",
    "check_webhook_name",
    "delivery_id",
    "headers_of",
    "matches",
    "may_help",
    "pause_s",
    "wait_s",
]

WebhookFormat = Literal["cloudevents", "mlflow"]
WebhookStatus = Literal["ACTIVE", "DISABLED"]
DeliveryState = Literal["waiting", "delivered", "dead"]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PATTERN = re.compile(r"\*|[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*\.?")
_MOST_PATTERNS = 50
_LONGEST_PATTERN = 100
_LONGEST_SECRET = 500
_ENCODED_SECRET = "whsec_"  # noqa: S105 - what Standard Webhooks writes before a key in base64

_ATTEMPTS: dict[WebhookFormat, int] = {"cloudevents": 8, "mlflow": 4}
_LONGEST_WAIT_S = 2048.0
_LONGEST_RETRY_AFTER_S = 3600.0
_FAILURES_BEFORE_PAUSE = 8
_FIRST_PAUSE_S = 30.0
_LONGEST_PAUSE_S = 600.0


class Webhook(msgspec.Struct, frozen=True):
    """An address outside that is told what happens in a project.

    Attributes:
        id: Its id.
        project: Whose events it gets.
        name: What people call it; several may share a name.
        url: Where events are sent.
        format: What a body looks like: a CloudEvents envelope, or the one that MLflow sends.
        event_types: What it wants in the first format: ``model.created``, all of ``model.``, or ``*``.
        mlflow_events: What it wants in the second: MLflow's entity and action, such as ``model_version.created``.
        status: A ``DISABLED`` one is not called, and what happens meanwhile is not kept for it.
        description: For people.
        has_secret: Whether bodies are signed; the secret itself is never shown.
        created_at: When it was made.
        created_by: By whom.
        updated_at: When it was changed last.
        delivered: How many events have arrived.
        dead: How many were given up.
        failures: How many attempts failed since the last that did not.
        last_attempt_at: When it was called last.
        last_delivered_at: When an event arrived last.
        last_status: What it answered last; None when it did not answer.
        paused_until: After many failures it is left alone until then.
    """

    id: str
    project: str
    name: str
    url: str
    format: WebhookFormat
    event_types: tuple[str, ...]
    mlflow_events: tuple[str, ...]
    status: WebhookStatus
    description: str
    has_secret: bool
    created_at: datetime
    created_by: str
    updated_at: datetime
    delivered: int = 0
    dead: int = 0
    failures: int = 0
    last_attempt_at: datetime | None = None
    last_delivered_at: datetime | None = None
    last_status: int | None = None
    paused_until: datetime | None = None


class Attempt(msgspec.Struct, frozen=True):
    """One call of a webhook.

    Attributes:
        at: When it began.
        took_s: How long it took, in seconds.
        status: The HTTP status that came back; None when none came.
        problem: Why it counts as failed; empty when it did not. Nothing of the answer's body is kept.
    """

    at: datetime
    took_s: float
    status: int | None = None
    problem: str = ""


class Delivery(msgspec.Struct, frozen=True):
    """An event on its way to a webhook.

    Attributes:
        id: The same in every attempt, so that a receiver can drop what it has got already.
        webhook_id: Where it goes.
        event_id: What is told.
        event_type: Its type.
        position: Its place in the log.
        mlflow_event: MLflow's entity and action; empty in the other format.
        state: ``waiting`` for its next attempt, ``delivered``, or ``dead``: given up.
        attempts: How often it was tried.
        tries: The last attempts, oldest first.
        next_attempt_at: When it is tried again.
        created_at: When it was taken from the log.
        ended_at: When it was delivered or given up.
    """

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    position: int
    mlflow_event: str
    state: DeliveryState
    attempts: int
    tries: tuple[Attempt, ...]
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


class Outgoing(msgspec.Struct, frozen=True):
    """What a sender needs to know for one attempt; it holds secrets and is never shown.

    Attributes:
        id: Of the delivery.
        claim: Proves that the row is still this sender's.
        webhook_id: Where it goes.
        url: Its address.
        format: Of the body.
        secrets: What to sign with; the new one first while two are valid.
        position: Place of the event in the log.
        part: Its place among the messages that the event makes.
        mlflow_event: Entity and action; empty in the other format.
        data: What the message says, in MLflow's format.
        round: How often it was tried since it was queued, or queued anew.
        tries: The attempts so far.
    """

    id: str
    claim: str
    webhook_id: str
    url: str
    format: WebhookFormat
    secrets: tuple[str, ...]
    position: int
    part: int
    mlflow_event: str
    data: dict[str, Any] | None
    round: int
    tries: tuple[Attempt, ...]

    def __repr__(self) -> str:
        return f"Outgoing({self.id!r}, webhook_id={self.webhook_id!r})"


class DeliveryReport(msgspec.Struct, frozen=True):
    """What a turn of delivery has done.

    Attributes:
        queued: Deliveries made from new events.
        delivered: Deliveries that arrived.
        failed: Attempts that failed and will be made again.
        dead: Deliveries that were given up.
        problems: Sentences for people.
    """

    queued: int = 0
    delivered: int = 0
    failed: int = 0
    dead: int = 0
    problems: tuple[str, ...] = ()


def check_webhook_name(name: str) -> str:
    """Return the name when it is one.

    Raises:
        Invalid: It is empty, longer than 63 characters, or has others than ``A-Z a-z 0-9 . _ -``, or does not begin and
            end with a letter or digit.

    >>> check_webhook_name("to-the-chat.1")
    'to-the-chat.1'
    """
    if _NAME.fullmatch(name) is None:
        raise Invalid(
            f"{name[:80]!r} cannot name a webhook.",
            next_step="Use 1 to 63 letters, digits, '.', '_' or '-', and begin and end with a letter or digit.",
        )
    return name


def check_event_types(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a webhook wants, each once.

    Raises:
        Invalid: There is none, or one is no type, no prefix that ends in a dot, and not ``*``.
        TooLarge: There are more than 50.

    >>> check_event_types(("model.", "incident.opened", "model."))
    ('model.', 'incident.opened')
    """
    if not patterns:
        raise Invalid("A webhook needs at least one type of event.", next_step='Name types, or "*" for all of them.')
    if len(patterns) > _MOST_PATTERNS:
        raise TooLarge(f"{len(patterns)} types of events.", next_step=f"Name at most {_MOST_PATTERNS}, or a prefix.")
    for pattern in patterns:
        if len(pattern) > _LONGEST_PATTERN or _PATTERN.fullmatch(pattern) is None:
            raise Invalid(
                f"{pattern[:80]!r} is no type of event.",
                next_step='Write a type such as "model.created", a beginning such as "model.", or "*".',
            )
    return tuple(dict.fromkeys(patterns))


def check_secret(secret: str) -> str:
    """Return the secret when bodies can be signed with it; an empty one means that they are not signed.

    Raises:
        Invalid: It has other than printable ASCII characters, or begins with ``whsec_`` and does not go on in base64.
        TooLarge: It is longer than 500 characters.
    """
    if len(secret) > _LONGEST_SECRET:
        raise TooLarge("The secret of a webhook is too long.", next_step=f"Use at most {_LONGEST_SECRET} characters.")
    if not (secret.isascii() and secret.isprintable()):
        raise Invalid(
            "A secret has printable ASCII characters only.", next_step="Make one with `openssl rand -hex 32`."
        )
    if secret:
        try:
            _key(secret)
        except binascii.Error:
            raise Invalid(
                "A secret that begins with whsec_ goes on with a key in base64.", next_step="Copy it anew, as a whole."
            ) from None
    return secret


def _key(secret: str) -> bytes:
    if secret.startswith(_ENCODED_SECRET):
        return base64.b64decode(secret.removeprefix(_ENCODED_SECRET), validate=True)
    return secret.encode()


def matches(patterns: tuple[str, ...], type_: str) -> bool:
    """Return whether a webhook that wants these wants events of this type.

    >>> matches(("model.",), "model.created"), matches(("model.",), "models.created"), matches(("*",), "run.ended")
    (True, False, True)
    """
    return any(pattern in ("*", type_) or (pattern.endswith(".") and type_.startswith(pattern)) for pattern in patterns)


def delivery_id(webhook_id: str, event: Event, part: int) -> str:
    """Return the id of telling a webhook of an event: always the same, however often and by whom it is sent."""
    return derive_id(event.time, "webhook", webhook_id, event.id, str(part))


def headers_of(outgoing: Outgoing, sent_at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers that name and sign a body.

    The native ones are those of Standard Webhooks, with a signature for each secret that is valid; the others are what
    MLflow sends, which knows one.
    """
    seconds = str(int(sent_at.timestamp()))
    if outgoing.format == "mlflow":
        hexes = outgoing.id
        id_ = f"{hexes[:8]}-{hexes[8:12]}-{hexes[12:16]}-{hexes[16:20]}-{hexes[20:]}"
        headers = {"Content-Type": "application/json", "X-MLflow-Delivery-Id": id_, "X-MLflow-Timestamp": seconds}
        if outgoing.secrets:
            headers["X-MLflow-Signature"] = _sign(outgoing.secrets[0].encode(), id_, seconds, body)
        return headers
    headers = {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": outgoing.id,
        "webhook-timestamp": seconds,
    }
    if outgoing.secrets:
        signatures = (_sign(_key(secret), outgoing.id, seconds, body) for secret in outgoing.secrets)
        headers["webhook-signature"] = " ".join(signatures)
    return headers


def _sign(key: bytes, id_: str, seconds: str, body: bytes) -> str:
    digest = hmac.new(key, f"{id_}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def may_help(status: int | None) -> bool:
    """Return whether the same call may go better later: nothing came back, or it was too much or broken just now."""
    return status is None or status == 429 or status >= 500


def wait_s(format_: WebhookFormat, attempt: int, retry_after_s: float | None, spread: float) -> float | None:
    """Return how long to wait after a failed attempt; None when that was the last.

    In MLflow's format three more are made, after 1, 2 and 4 seconds. Natively it is eight attempts in about an hour:
    after 1, 4, 16 seconds, and so on.

    Args:
        format_: Of the webhook.
        attempt: Which one has failed, from 1.
        retry_after_s: What the receiver asked for; heeded up to an hour.
        spread: From 0 to 1, so that not all come back at the same moment: up to a fifth more.

    >>> [wait_s("mlflow", attempt, None, 0.0) for attempt in (1, 2, 3, 4)]
    [1.0, 2.0, 4.0, None]
    >>> sum(wait_s("cloudevents", attempt, None, 0.0) for attempt in range(1, 8)) / 60
    56.88333333333333
    """
    if attempt >= _ATTEMPTS[format_]:
        return None
    growth = 2.0 if format_ == "mlflow" else 4.0
    wait = min(growth ** (attempt - 1), _LONGEST_WAIT_S) * (1.0 + 0.2 * spread)
    return max(wait, min(retry_after_s or 0.0, _LONGEST_RETRY_AFTER_S))


def pause_s(failures: int) -> float | None:
    """Return how long to leave a webhook alone after so many failures in a row; None while that is too early.

    >>> [pause_s(failures) for failures in (7, 8, 9, 20)]
    [None, 30.0, 60.0, 600.0]
    """
    if failures < _FAILURES_BEFORE_PAUSE:
        return None
    return min(_FIRST_PAUSE_S * 2.0 ** min(failures - _FAILURES_BEFORE_PAUSE, 10), _LONGEST_PAUSE_S)
