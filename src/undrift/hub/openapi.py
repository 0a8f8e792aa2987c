"""The OpenAPI 3.1 document, made from the declarations of the operations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

import msgspec

from undrift import __version__
from undrift.core import errors
from undrift.core.errors import UndriftError
from undrift.core.operation import Operation
from undrift.hub.api import PREFIX
from undrift.hub.problems import PROBLEM_JSON
from undrift.operations import ROOMS

__all__ = ["describe"]

_REF = "#/components/schemas/{name}"
_RAISES = re.compile(r"^\s+([A-Z][A-Za-z]+):", re.MULTILINE)
_ALWAYS = ("Invalid", "Forbidden", "Unavailable")

_PROBLEM: Mapping[str, Any] = {
    "title": "Problem",
    "description": "What went wrong, as RFC 9457 problem details.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "A name for the kind of error."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, in a sentence."},
        "code": {"type": "string", "description": "The same for programs; it does not change."},
        "next_step": {"type": "string", "description": "What to do about it."},
        "details": {"type": "object", "description": "Facts a program may want."},
        "instance": {"type": "string", "description": "The trace id to look for in the hub's log."},
    },
    "required": ["type", "title", "status", "detail", "code", "next_step", "details", "instance"],
}


def describe(operations: Iterable[Operation[Any, Any]]) -> dict[str, Any]:
    """Return the document as JSON-able values."""
    known = list(operations)
    # Also those of requests in a query string, whose lists and Structs travel as JSON text.
    types = [operation.input for operation in known]
    outputs = [operation.output for operation in known]
    schemas, components = msgspec.json.schema_components([*types, *outputs], ref_template=_REF)
    bodies = iter(schemas[: len(types)])
    answers = iter(schemas[len(types) :])
    paths = {
        PREFIX + operation.path: {
            "get" if operation.reads else "post": _operation(operation, next(bodies), next(answers))
        }
        for operation in known
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "undrift",
            "version": __version__,
            "summary": "Keeps machine-learning models right in production.",
            "description": "Every operation of this hub. Those that read are GET, those that change something POST.",
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": room.__name__.rpartition(".")[2], "description": inspect.getdoc(room) or ""} for room in ROOMS
        ],
        "paths": paths,
        "components": {"schemas": {**components, "Problem": _PROBLEM}},
    }


def _operation(operation: Operation[Any, Any], body: Any, answer: Any) -> dict[str, Any]:
    text = inspect.getdoc(operation) or ""
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.name.partition(".")[0]],
        "summary": operation.summary,
        "description": text.partition("\nRaises:")[0].strip(),
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}},
            **_problems(text),
        },
        "x-undrift-permission": operation.permission,
    }
    if operation.reads:
        described["parameters"] = _parameters(operation)
        return described
    described["parameters"] = [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Names this call, so that doing it again returns the first answer and changes nothing.",
            "schema": {"type": "string", "maxLength": 200},
        }
    ]
    described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    described["x-undrift-emits"] = list(operation.emits)
    return described


def _parameters(operation: Operation[Any, Any]) -> list[dict[str, Any]]:
    hints = get_type_hints(operation.input)
    found = []
    for field in msgspec.structs.fields(operation.input):
        (schema,), _ = msgspec.json.schema_components([hints[field.name]], ref_template=_REF)
        if not field.required and field.default is not None:
            schema["default"] = msgspec.to_builtins(field.default)
        where = {"name": field.encode_name, "in": "query", "required": field.required}
        if "array" in str(schema) or "object" in str(schema) or "$ref" in str(schema):
            # Lists and Structs are JSON text in a query string.
            found.append(where | {"content": {"application/json": {"schema": schema}}})
        else:
            found.append(where | {"schema": schema})
    return found


def _problems(text: str) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for name in dict.fromkeys((*_ALWAYS, *_RAISES.findall(text.partition("Raises:")[2]))):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, UndriftError):
            by_status.setdefault(kind.status, []).append((inspect.getdoc(kind) or name).partition("\n")[0])
    content = {PROBLEM_JSON: {"schema": {"$ref": _REF.format(name="Problem")}}}
    return {
        str(status): {"description": " ".join(said), "content": content} for status, said in sorted(by_status.items())
    }
