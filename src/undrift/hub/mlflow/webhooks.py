"""Webhooks, as MLflow's clients ask for them; native ones, in the other format, are not shown here."""

from __future__ import annotations

import enum
import re
from typing import Any, Literal

from undrift.core.context import Context
from undrift.core.errors import Forbidden, Invalid, NotFound
from undrift.events.webhooks import (
    MLFLOW_EVENTS,
    CreateWebhook,
    DeleteWebhook,
    FindWebhook,
    ListWebhooks,
    TestWebhook,
    UpdateWebhook,
    Webhook,
    create_webhook,
    delete_webhook,
    find_webhook,
    list_webhooks,
    test_webhook,
    update_webhook,
)
from undrift.hub.mlflow.errors import renamed
from undrift.hub.mlflow.messages import Message, missing
from undrift.hub.mlflow.routes import Route, threaded
from undrift.hub.mlflow.words import to_ms

__all__ = ["ROUTES"]

_READ = "events:read"
_WRITE = "events:write"
_MOST = 1_000
_ID = re.compile(r"[0-9a-f]{32}")


class Status(enum.IntEnum):
    """Whether a webhook is called."""

    ACTIVE = 1
    DISABLED = 2


_STATUSES: dict[Status, Literal["ACTIVE", "DISABLED"]] = {Status.ACTIVE: "ACTIVE", Status.DISABLED: "DISABLED"}


class Pair(Message):
    """What happens, to what; in capitals on the wire."""

    entity: str
    action: str


class Create(Message):
    """A webhook to make."""

    name: str
    url: str
    events: tuple[Pair, ...]
    description: str = ""
    secret: str = ""
    status: Status | None = None


class Search(Message):
    """Which page."""

    max_results: int = 100
    page_token: str = ""


class ById(Message):
    """Which webhook."""

    webhook_id: str


class Update(Message):
    """What changes of a webhook; what is left out stays."""

    webhook_id: str
    name: str | None = None
    url: str | None = None
    events: tuple[Pair, ...] = ()
    description: str | None = None
    secret: str | None = None
    status: Status | None = None


class Test(Message):
    """Which webhook to call, with which event."""

    __test__ = False

    webhook_id: str
    event: Pair | None = None


def _as_json(webhook: Webhook) -> dict[str, Any]:
    said: dict[str, Any] = {
        "webhook_id": webhook.id,
        "name": webhook.name,
        "description": webhook.description,
        "url": webhook.url,
        "events": [_pair(event) for event in webhook.mlflow_events],
        "status": webhook.status,
        "creation_timestamp": to_ms(webhook.created_at),
        "last_updated_timestamp": to_ms(webhook.updated_at),
    }
    return {name: value for name, value in said.items() if value not in ("", [])}


def _pair(event: str) -> dict[str, str]:
    entity, _, action = event.partition(".")
    return {"entity": entity.upper(), "action": action.upper()}


def _event(pair: Pair) -> str:
    event = f"{pair.entity}.{pair.action}".lower()
    if event not in MLFLOW_EVENTS:
        raise Invalid(
            f"Invalid action '{pair.action[:80]}' for entity '{pair.entity[:80]}'.",
            next_step=f"Known are: {', '.join(sorted(MLFLOW_EVENTS))}.",
        )
    return event


def _find(ctx: Context, project: str, webhook_id: str) -> Webhook:
    if _ID.fullmatch(webhook_id) is not None:
        found = find_webhook(ctx, FindWebhook(webhook_id))
        if found.project == project and found.format == "mlflow":
            return found
    raise NotFound(f"Webhook with ID {webhook_id[:80]} not found.")


def _create(ctx: Context, project: str, asked: Create) -> Any:
    events = tuple(_event(pair) for pair in asked.events)
    # Who may make webhooks was asked before: what is forbidden here is the address.
    with renamed(Forbidden, "INVALID_PARAMETER_VALUE"):
        made = create_webhook(
            ctx,
            CreateWebhook(
                project,
                asked.name,
                asked.url,
                mlflow_events=events,
                format="mlflow",
                secret=asked.secret,
                status=_STATUSES[asked.status or Status.ACTIVE],
                description=asked.description,
            ),
        )
    return {"webhook": _as_json(made)}


def _list(ctx: Context, project: str, asked: Search) -> Any:
    if not 1 <= asked.max_results <= _MOST:
        raise Invalid(
            f"Invalid value {asked.max_results} for parameter 'max_results' supplied: It must be 1 to {_MOST}."
        )
    if asked.page_token and _ID.fullmatch(asked.page_token) is None:
        raise Invalid(f"Invalid page token: {asked.page_token[:80]!r}.")
    # A project has no more of them than one page of the native list.
    found = list_webhooks(ctx, ListWebhooks(project, _MOST, asked.page_token or None)).webhooks
    mine = [one for one in found if one.format == "mlflow"]
    page = mine[: asked.max_results]
    said: dict[str, Any] = {}
    if page:
        said["webhooks"] = [_as_json(one) for one in page]
    if len(mine) > len(page):
        said["next_page_token"] = page[-1].id
    return said


def _get(ctx: Context, project: str, asked: ById) -> Any:
    return {"webhook": _as_json(_find(ctx, project, asked.webhook_id))}


def _update(ctx: Context, project: str, asked: Update) -> Any:
    _find(ctx, project, asked.webhook_id)
    if asked.name == "":
        raise missing("name")
    if asked.url == "":
        raise missing("url")
    with renamed(Forbidden, "INVALID_PARAMETER_VALUE"):
        changed = update_webhook(
            ctx,
            UpdateWebhook(
                asked.webhook_id,
                name=asked.name,
                url=asked.url,
                mlflow_events=tuple(_event(pair) for pair in asked.events) or None,
                secret=asked.secret,
                status=None if asked.status is None else _STATUSES[asked.status],
                description=asked.description,
            ),
        )
    return {"webhook": _as_json(changed)}


def _delete(ctx: Context, project: str, asked: ById) -> None:
    _find(ctx, project, asked.webhook_id)
    delete_webhook(ctx, DeleteWebhook(asked.webhook_id))


def _test(ctx: Context, project: str, asked: Test) -> Any:
    _find(ctx, project, asked.webhook_id)
    event = None if asked.event is None else _event(asked.event)
    done = test_webhook(ctx, TestWebhook(asked.webhook_id, event))
    result: dict[str, Any] = {"success": done.success}
    if done.status is not None:
        result["response_status"] = done.status
    if done.problem:
        result["error_message"] = done.problem
    return {"result": result}


_AT = "2.0/mlflow/webhooks"
ROUTES = (
    Route(("POST",), _AT, _WRITE, threaded(Create, _create)),
    Route(("GET",), _AT, _READ, threaded(Search, _list)),
    Route(("GET",), f"{_AT}/{{webhook_id}}", _READ, threaded(ById, _get)),
    Route(("PATCH",), f"{_AT}/{{webhook_id}}", _WRITE, threaded(Update, _update)),
    Route(("DELETE",), f"{_AT}/{{webhook_id}}", _WRITE, threaded(ById, _delete)),
    Route(("POST",), f"{_AT}/{{webhook_id}}/test", _WRITE, threaded(Test, _test)),
)
