"""What can be done with webhooks."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge, Unavailable
from undrift.core.ids import check_id, check_name, new_id
from undrift.core.operation import operation
from undrift.events import records as log
from undrift.events.log import EventLog
from undrift.events.model import Event
from undrift.events.reach import Reach
from undrift.events.webhooks import addresses, records
from undrift.events.webhooks.bodies import check_mlflow_events, cloudevents_body, example_message, mlflow_body
from undrift.events.webhooks.model import (
    Delivery,
    DeliveryState,
    Outgoing,
    Webhook,
    WebhookFormat,
    WebhookStatus,
    check_event_types,
    check_secret,
    check_webhook_name,
    headers_of,
)
from undrift.events.webhooks.sending import Answer, post, tls_of_system

__all__ = [
    "CreateWebhook",
    "DeleteWebhook",
    "DeliveryPage",
    "FindWebhook",
    "ListDeliveries",
    "ListWebhooks",
    "RetryDelivery",
    "TestWebhook",
    "UpdateWebhook",
    "WebhookPage",
    "WebhookTest",
    "create_webhook",
    "delete_webhook",
    "find_webhook",
    "list_deliveries",
    "list_webhooks",
    "reach_of",
    "retry_delivery",
    "test_webhook",
    "update_webhook",
]

LIFETIME = timedelta(days=1)
"""How long it is tried to deliver an event to a receiver that is away."""

_LONGEST_DESCRIPTION = 1000
_MOST_WEBHOOKS = 1000
_LOOK_UP_S = 5.0
_TEST_S = 10.0
_OLD_SECRET = timedelta(days=1)


class CreateWebhook(msgspec.Struct, frozen=True):
    """A webhook to make; see `undrift.events.Webhook` for the fields.

    Attributes:
        project: Whose events it gets.
        name: 1 to 63 letters, digits, ``.``, ``_`` or ``-``.
        url: Where to send events.
        event_types: What it wants in the format ``cloudevents``.
        mlflow_events: What it wants in the format ``mlflow``.
        format: What a body looks like.
        secret: What bodies are signed with; kept, and never shown again.
        status: ``DISABLED`` to begin later.
        description: For people; at most 1,000 characters.
    """

    project: str
    name: str
    url: str
    event_types: tuple[str, ...] = ()
    mlflow_events: tuple[str, ...] = ()
    format: WebhookFormat = "cloudevents"
    secret: str = ""
    status: WebhookStatus = "ACTIVE"
    description: str = ""

    def __repr__(self) -> str:
        # What is logged of a request must not hold the secret, nor the address, which is often as good as one.
        return f"CreateWebhook(project={self.project!r}, name={self.name!r})"


class FindWebhook(msgspec.Struct, frozen=True):
    """Which webhook."""

    webhook_id: str


class ListWebhooks(msgspec.Struct, frozen=True):
    """Which webhooks.

    Attributes:
        project: Of which project; of all when left out.
        max_results: At most so many, 1 to 1,000.
        page_token: What the page before gave.
    """

    project: str | None = None
    max_results: int = 100
    page_token: str | None = None


class WebhookPage(msgspec.Struct, frozen=True):
    """Webhooks, newest first, and how to ask for more; None when there are no more."""

    webhooks: tuple[Webhook, ...]
    next_page_token: str | None = None


class UpdateWebhook(msgspec.Struct, frozen=True):
    """What to change of a webhook; what is left out stays.

    Attributes:
        webhook_id: Which one.
        name: Its new name.
        url: Where to send events from now on.
        event_types: What it wants in the format ``cloudevents``.
        mlflow_events: What it wants in the format ``mlflow``.
        format: What a body looks like.
        secret: For a day bodies are signed with the one before, too; empty to sign them no more.
        status: ``DISABLED`` to stop, ``ACTIVE`` to go on with what happens from now on.
        description: For people.
    """

    webhook_id: str
    name: str | None = None
    url: str | None = None
    event_types: tuple[str, ...] | None = None
    mlflow_events: tuple[str, ...] | None = None
    format: WebhookFormat | None = None
    secret: str | None = None
    status: WebhookStatus | None = None
    description: str | None = None

    def __repr__(self) -> str:
        return f"UpdateWebhook(webhook_id={self.webhook_id!r})"


class DeleteWebhook(msgspec.Struct, frozen=True):
    """Which webhook to delete."""

    webhook_id: str


class TestWebhook(msgspec.Struct, frozen=True):
    """Which webhook to call with an example.

    Attributes:
        webhook_id: Which one.
        event: A type of event, or MLflow's entity and action; the first it wants when left out.
    """

    __test__ = False

    webhook_id: str
    event: str | None = None


class WebhookTest(msgspec.Struct, frozen=True):
    """How a test went; nothing of the answer's body is shown.

    Attributes:
        success: Whether the receiver took it (a status from 200 to 299).
        status: What it answered; None when it did not.
        problem: What is wrong, in a sentence.
    """

    success: bool
    status: int | None = None
    problem: str = ""


class ListDeliveries(msgspec.Struct, frozen=True):
    """Which deliveries.

    Attributes:
        webhook_id: To which webhook.
        state: ``waiting``, ``delivered`` or ``dead``; all when left out.
        max_results: At most so many, 1 to 1,000.
        page_token: What the page before gave.
    """

    webhook_id: str
    state: DeliveryState | None = None
    max_results: int = 100
    page_token: str | None = None


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries, those of the newest events first, and how to ask for more; None when there are no more."""

    deliveries: tuple[Delivery, ...]
    next_page_token: str | None = None


class RetryDelivery(msgspec.Struct, frozen=True):
    """Which delivery to make anew."""

    delivery_id: str


def reach_of(ctx: Context) -> Reach:
    """Return which addresses this workspace lets webhooks reach: public ones only, unless it was set up otherwise."""
    return ctx.events.reach if isinstance(ctx.events, EventLog) else Reach()


def _webhook(tx: Any, webhook_id: str) -> Webhook:
    found = records.find_webhook(tx, check_id(webhook_id))
    if found is None:
        raise NotFound(f"Webhook with ID {webhook_id} not found.", next_step="List webhooks to see which there are.")
    return found


def _limit(max_results: int) -> int:
    if not 1 <= max_results <= 1000:
        raise Invalid(f"A page cannot have {max_results} entries.", next_step="Ask for 1 to 1,000.")
    return max_results


def _check_wanted(
    format_: WebhookFormat, event_types: tuple[str, ...], mlflow_events: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if format_ == "mlflow":
        if event_types:
            raise Invalid("A webhook in MLflow's format takes mlflow_events, not event_types.")
        return (), check_mlflow_events(mlflow_events)
    if mlflow_events:
        raise Invalid("Only a webhook in MLflow's format takes mlflow_events.", next_step="Give event_types.")
    return check_event_types(event_types), ()


def _check_description(description: str) -> str:
    if len(description) > _LONGEST_DESCRIPTION:
        raise TooLarge(
            f"The description has {len(description)} characters.",
            next_step=f"Use at most {_LONGEST_DESCRIPTION:,} characters.",
        )
    return description


def _check_url(ctx: Context, request: CreateWebhook | UpdateWebhook) -> None:
    if request.url is None:
        return
    try:
        addresses.judge(
            addresses.parse_url(request.url), reach_of(ctx), look_up=addresses.resolve, timeout_s=_LOOK_UP_S
        )
    except Unavailable as error:
        # At this moment it is the caller's mistake more likely than the name server's.
        raise Invalid(error.message, next_step=error.next_step) from None


@operation("events.create_webhook", permission="events:write", emits=("webhook.created",), before=_check_url)
def create_webhook(ctx: Context, request: CreateWebhook) -> Webhook:
    """Make a webhook: from now on, the events it wants are sent to its address.

    The address has to be https and public, unless the workspace allows its host; it is looked up and judged here and
    again before each call. Up to 5 seconds go by when its name server does not answer.

    Raises:
        Invalid: A name, address, type of event or secret is none, or the host is not known.
        Forbidden: The address is not public, not https, or on another port than 443 and 8443.
        TooLarge: Something is over its limit, or the project has 1,000 webhooks.
    """
    check_name(request.project, "project")
    check_webhook_name(request.name)
    event_types, mlflow_events = _check_wanted(request.format, request.event_types, request.mlflow_events)
    check_secret(request.secret)
    _check_description(request.description)
    with ctx.begin() as tx:
        if records.count_webhooks(tx, request.project) >= _MOST_WEBHOOKS:
            raise TooLarge(
                f"Project {request.project!r} has {_MOST_WEBHOOKS} webhooks.", next_step="Delete some of them first."
            )
        now = ctx.now()
        webhook = Webhook(
            id=new_id(),
            project=request.project,
            name=request.name,
            url=request.url,
            format=request.format,
            event_types=event_types,
            mlflow_events=mlflow_events,
            status=request.status,
            description=request.description,
            has_secret=bool(request.secret),
            created_at=now,
            created_by=ctx.actor.name,
            updated_at=now,
        )
        records.add_webhook(tx, webhook, secret=request.secret, start_position=log.head(tx).position)
        # Not the whole address: its path may be as good as a password.
        ctx.emit(
            "webhook.created",
            f"webhooks/{webhook.id}",
            project=webhook.project,
            name=webhook.name,
            host=addresses.parse_url(request.url).host,
            event_types=webhook.event_types + webhook.mlflow_events,
        )
        return webhook


@operation("events.find_webhook", permission="events:read")
def find_webhook(ctx: Context, request: FindWebhook) -> Webhook:
    """Return a webhook.

    Raises:
        NotFound: There is no such webhook.
    """
    with ctx.read() as tx:
        return _webhook(tx, request.webhook_id)


@operation("events.list_webhooks", permission="events:read")
def list_webhooks(ctx: Context, request: ListWebhooks) -> WebhookPage:
    """List webhooks, newest first.

    Raises:
        Invalid: The page is too long or too short, or the token is none.
    """
    limit = _limit(request.max_results)
    before = None if request.page_token is None else check_id(request.page_token)
    with ctx.read() as tx:
        found = records.list_webhooks(tx, request.project, before=before, limit=limit + 1)
    return WebhookPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


@operation("events.update_webhook", permission="events:write", emits=("webhook.updated",), before=_check_url)
def update_webhook(ctx: Context, request: UpdateWebhook) -> Webhook:
    """Change a webhook.

    Raises:
        NotFound: There is no such webhook.
        Invalid: A name, address, type of event or secret is none, or the host is not known.
        Forbidden: The address is not public, not https, or on another port than 443 and 8443.
    """
    check_id(request.webhook_id)
    values: dict[str, Any] = {}
    if request.name is not None:
        values["name"] = check_webhook_name(request.name)
    if request.description is not None:
        values["description"] = _check_description(request.description)
    if request.status is not None:
        values["status"] = request.status
    if request.secret is not None:
        check_secret(request.secret)
    if request.url is not None:
        values["url"] = request.url
    with ctx.begin() as tx:
        webhook = _webhook(tx, request.webhook_id)
        format_ = request.format or webhook.format
        # A format that is changed leaves behind what was wanted in the other's words.
        same = format_ == webhook.format
        types = (webhook.event_types if same else ()) if request.event_types is None else request.event_types
        pairs = (webhook.mlflow_events if same else ()) if request.mlflow_events is None else request.mlflow_events
        event_types, mlflow_events = _check_wanted(format_, types, pairs)
        values |= {"format": format_, "event_types": event_types, "mlflow_events": mlflow_events}
        if request.secret is not None:
            current = records.secrets_of(tx, webhook.id, ctx.now())
            if (current or ("",))[0] != request.secret:
                values |= {
                    "secret": request.secret,
                    "previous_secret": current[0] if current else "",
                    "previous_until": ctx.now() + _OLD_SECRET,
                }
        if request.status == "ACTIVE" and webhook.status == "DISABLED":
            values["start_position"] = log.head(tx).position
        if request.url is not None or request.status == "ACTIVE":
            values |= {"failures": 0, "paused_until": None}
        before = msgspec.structs.asdict(webhook)
        changed = sorted(
            name
            for name in ("name", "url", "format", "event_types", "mlflow_events", "status", "description", "secret")
            if name in values and (name == "secret" or values[name] != before[name])
        )
        records.change_webhook(tx, webhook.id, values | {"updated_at": ctx.now()})
        if changed:
            ctx.emit(
                "webhook.updated",
                f"webhooks/{webhook.id}",
                project=webhook.project,
                name=values.get("name", webhook.name),
                changed=changed,
            )
        return _webhook(tx, webhook.id)


@operation("events.delete_webhook", permission="events:write", emits=("webhook.deleted",))
def delete_webhook(ctx: Context, request: DeleteWebhook) -> None:
    """Delete a webhook, and what is on its way to it.

    Raises:
        NotFound: There is no such webhook.
    """
    with ctx.begin() as tx:
        webhook = _webhook(tx, request.webhook_id)
        records.delete_webhook(tx, webhook.id)
        ctx.emit("webhook.deleted", f"webhooks/{webhook.id}", project=webhook.project, name=webhook.name)


@operation("events.test_webhook", permission="events:write", emits=("webhook.tested",), keyed=False)
def test_webhook(ctx: Context, request: TestWebhook) -> WebhookTest:
    """Call a webhook once with an example, and say how it went; waits at most 10 seconds for the receiver.

    Raises:
        NotFound: There is no such webhook.
        Invalid: The event asked for is none.
    """
    with ctx.read() as tx:
        webhook = _webhook(tx, request.webhook_id)
        secrets = records.secrets_of(tx, webhook.id, ctx.now())
    outgoing = Outgoing(
        id=new_id(),
        claim="",
        webhook_id=webhook.id,
        url=webhook.url,
        format=webhook.format,
        secrets=secrets,
        position=0,
        part=0,
        mlflow_event="",
        data=None,
        round=0,
        tries=(),
    )
    answer = _call(ctx, outgoing, _example(ctx, webhook, request.event, outgoing.id))
    success = answer.status is not None and 200 <= answer.status < 300
    problem = "" if success else answer.problem or f"It answered {answer.status}."
    with ctx.begin():
        ctx.emit(
            "webhook.tested",
            f"webhooks/{webhook.id}",
            project=webhook.project,
            name=webhook.name,
            status=answer.status,
            problem=problem,
        )
    return WebhookTest(success, answer.status, problem)


# What tests are found by would find this, too.
test_webhook.__test__ = False  # type: ignore[attr-defined]


def _example(ctx: Context, webhook: Webhook, asked: str | None, id_: str) -> bytes:
    event = Event(
        position=0,
        id=id_,
        type="webhook.tested",
        subject=f"webhooks/{webhook.id}",
        project=webhook.project,
        time=ctx.now(),
        actor=ctx.actor.name,
        trace_id=ctx.trace_id,
        data={"test": True},
        hash="",
    )
    if webhook.format == "mlflow":
        (pair,) = check_mlflow_events((webhook.mlflow_events[0] if asked is None else asked,))
        return mlflow_body(example_message(pair), event)
    if asked is not None:
        (type_,) = check_event_types((asked,))
        if type_ == "*" or type_.endswith("."):
            raise Invalid(f"{type_!r} is not one type of event.", next_step='Name one, such as "model.created".')
        event = msgspec.structs.replace(event, type=type_)
    return cloudevents_body(event)


def _call(ctx: Context, outgoing: Outgoing, body: bytes) -> Answer:
    began = time.monotonic()
    try:
        target = addresses.parse_url(outgoing.url)
        found = addresses.judge(target, reach_of(ctx), look_up=addresses.resolve, timeout_s=_LOOK_UP_S)
    except (Forbidden, Invalid, Unavailable) as error:
        return Answer(None, error.message)
    now = ctx.now()
    left = max(0.1, _TEST_S - (time.monotonic() - began))
    return post(target, found, headers_of(outgoing, now, body), body, now=now, timeout_s=left, tls=tls_of_system)


@operation("events.list_deliveries", permission="events:read")
def list_deliveries(ctx: Context, request: ListDeliveries) -> DeliveryPage:
    """List what is on its way to a webhook, has arrived in the last week, or was given up in the last month.

    Raises:
        NotFound: There is no such webhook.
        Invalid: The page is too long or too short, or the token is none.
    """
    limit = _limit(request.max_results)
    before = None if request.page_token is None else _place(request.page_token)
    with ctx.read() as tx:
        webhook = _webhook(tx, request.webhook_id)
        found = records.list_deliveries(tx, webhook.id, state=request.state, before=before, limit=limit + 1)
    token = None
    if len(found) > limit:
        last, part = found[limit - 1]
        token = f"{last.position}.{part}"
    return DeliveryPage(tuple(delivery for delivery, _ in found[:limit]), token)


def _place(token: str) -> tuple[int, int]:
    position, _, part = token.partition(".")
    if not (token.isascii() and position.isdecimal() and part.isdecimal() and len(position) < 19 and len(part) < 10):
        raise Invalid(f"{token[:80]!r} is not a page token.", next_step="Give the one that came with the page before.")
    return int(position), int(part)


@operation("events.retry_delivery", permission="events:write", emits=("webhook.delivery_retried",))
def retry_delivery(ctx: Context, request: RetryDelivery) -> Delivery:
    """Send an event to a webhook anew, with all attempts before it; one that waits is sent now.

    Raises:
        NotFound: There is no such delivery.
        Conflict: The webhook is disabled.
    """
    with ctx.begin() as tx:
        found = records.find_delivery(tx, check_id(request.delivery_id))
        if found is None:
            raise NotFound(
                f"There is no delivery {request.delivery_id}.", next_step="What is long over is forgotten: list them."
            )
        webhook = _webhook(tx, found.webhook_id)
        if webhook.status == "DISABLED":
            raise Conflict(f"Webhook {webhook.name!r} is disabled.", next_step="Set it to ACTIVE first.")
        records.requeue(tx, found.id, ctx.now(), ctx.now() + LIFETIME)
        # A person asks: the receiver is taken to be there again.
        records.change_webhook(tx, webhook.id, {"failures": 0, "paused_until": None})
        ctx.emit(
            "webhook.delivery_retried",
            f"webhooks/{webhook.id}",
            project=webhook.project,
            delivery_id=found.id,
            event_id=found.event_id,
        )
        return msgspec.structs.replace(found, state="waiting", next_attempt_at=ctx.now(), ended_at=None)
