"""What is sent: an event in a CloudEvents envelope, or as MLflow tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid
from undrift.events.model import Event

__all__ = [
    "MLFLOW_EVENTS",
    "Describe",
    "MlflowMessage",
    "check_mlflow_events",
    "cloudevents_body",
    "example_message",
    "mlflow_body",
    "mlflow_messages",
    "mlflow_types",
]

Describe = Callable[[Context, Event], Mapping[str, Any]]
"""Says of an event what the log does not, and goes before it: ``source``, ``run_id``, ``tags``, ``description``."""

_PAIRS = {
    "model.created": "registered_model.created",
    "model.version_registered": "model_version.created",
    "model.version_tagged": "model_version_tag.set",
    "model.version_untagged": "model_version_tag.deleted",
    "model.alias_moved": "model_version_alias.created",
    "model.alias_removed": "model_version_alias.deleted",
}

MLFLOW_EVENTS = frozenset(_PAIRS.values()) | {
    "prompt.created",
    "prompt_version.created",
    "prompt_tag.set",
    "prompt_tag.deleted",
    "prompt_version_tag.set",
    "prompt_version_tag.deleted",
    "prompt_alias.created",
    "prompt_alias.deleted",
    "budget_policy.exceeded",
}
"""What MLflow has webhooks for, as ``entity.action``; for prompts and budgets nothing ever happens here."""

_NAME, _VERSION, _KEY = "example_model", "1", "example_key"
_EXAMPLES: dict[str, dict[str, Any]] = {
    "registered_model.created": {
        "name": _NAME,
        "tags": {_KEY: "example_value"},
        "description": "An example registered model",
    },
    "model_version.created": {
        "name": _NAME,
        "version": _VERSION,
        "source": "models:/123",
        "run_id": "abcd1234abcd5678",
        "tags": {_KEY: "example_value"},
        "description": "An example model version",
    },
    "model_version_tag.set": {"name": _NAME, "version": _VERSION, "key": _KEY, "value": "example_value"},
    "model_version_tag.deleted": {"name": _NAME, "version": _VERSION, "key": _KEY},
    "model_version_alias.created": {"name": _NAME, "alias": "example_alias", "version": _VERSION},
    "model_version_alias.deleted": {"name": _NAME, "alias": "example_alias"},
}


class MlflowMessage(msgspec.Struct, frozen=True):
    """What MLflow would say of an event: its entity and action, and the data of that kind."""

    event: str
    data: dict[str, Any]


def check_mlflow_events(events: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a webhook wants in MLflow's words, each once.

    Raises:
        Invalid: There is none, or MLflow knows no such entity and action.
    """
    if not events:
        raise Invalid("A webhook needs at least one event.", next_step='Name some, such as "model_version.created".')
    for event in events:
        if event not in MLFLOW_EVENTS:
            raise Invalid(
                f"MLflow has no webhooks for {event[:80]!r}.",
                next_step=f"Known are: {', '.join(sorted(MLFLOW_EVENTS))}.",
            )
    return tuple(dict.fromkeys(events))


def cloudevents_body(event: Event) -> bytes:
    """Return an event as CloudEvents 1.0 JSON, with the project, actor, trace id and position as extensions."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": event.id,
            "source": f"/projects/{event.project}",
            "type": event.type,
            "subject": event.subject,
            "time": event.time,
            "datacontenttype": "application/json",
            "data": event.data,
            "project": event.project,
            "actor": event.actor,
            "traceid": event.trace_id,
            # As text: a number of CloudEvents has 32 bits.
            "position": str(event.position),
        }
    )


def mlflow_types(events: tuple[str, ...]) -> frozenset[str]:
    """Return the types of events that a webhook of MLflow's format has to be told of."""
    return frozenset(type_ for type_, pair in _PAIRS.items() if pair in events)


def mlflow_messages(event: Event, described: Mapping[str, Any]) -> list[MlflowMessage]:
    """Return what MLflow would say of an event: nothing, a message, or one for each tag.

    Args:
        event: Of the registry.
        described: What the log does not know; see `Describe`.
    """
    pair = _PAIRS.get(event.type)
    if pair is None:
        return []
    known = {**event.data, **described}
    below = event.subject.removeprefix("models/")
    # A name may hold anything but a slash; what follows one is the number of the version.
    name = str(known.get("model") or below.partition("/")[0])
    version = str(known.get("number") or below.partition("/")[2])
    told: list[dict[str, Any]]
    if pair == "registered_model.created":
        told = [{"tags": _tags(known), "description": known.get("description") or None}]
    elif pair == "model_version.created":
        told = [
            {
                "version": version,
                "source": str(known.get("source") or f"models:/{name}/{version}"),
                "run_id": known.get("run_id") or None,
                "tags": _tags(known),
                "description": known.get("description") or None,
            }
        ]
    elif pair == "model_version_tag.set":
        tags = {str(known["key"]): str(known.get("value", ""))} if "key" in known else _tags(known)
        told = [{"version": version, "key": key, "value": value} for key, value in tags.items()]
    elif pair == "model_version_tag.deleted":
        told = [{"version": version, "key": str(known.get("key", ""))}]
    elif pair == "model_version_alias.deleted":
        told = [{"alias": str(known.get("alias", ""))}]
    else:
        told = [{"alias": str(known.get("alias", "")), "version": version}]
    return [MlflowMessage(pair, {"name": name, **data}) for data in told]


def _tags(known: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in (known.get("tags") or {}).items()}


def mlflow_body(message: MlflowMessage, event: Event) -> bytes:
    """Return a message as MLflow writes it."""
    entity, _, action = message.event.partition(".")
    return msgspec.json.encode(
        {"entity": entity, "action": action, "timestamp": event.time.isoformat(), "data": message.data}
    )


def example_message(mlflow_event: str) -> MlflowMessage:
    """Return the example with which MLflow tests a webhook."""
    return MlflowMessage(mlflow_event, _EXAMPLES.get(mlflow_event, {"name": _NAME}))
