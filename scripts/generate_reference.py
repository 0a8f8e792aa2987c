"""Writes ``docs/reference.md``: every operation with route, permission, events and errors, from its declaration.

``--check`` changes nothing and exits with 1 when the page is not what it would write.
"""
# ruff: noqa: INP001 - a script, not part of the package

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any, get_type_hints

import msgspec
from generated import ROOT, as_markdown, flow, run

from undrift.core.operation import Operation
from undrift.operations import all_operations

PAGE = ROOT / "docs" / "reference.md"
SOURCE = ROOT / "src" / "undrift"

_HEAD = """\
# Reference

*This page is written by `scripts/generate_reference.py` from the declarations of the operations. Edit those.*

An operation is called in the same way everywhere: `client.monitoring.find_incident(number=1)` from Python, where
`client` is made by `undrift.connect`, or its route over HTTP. An operation that only reads is a `GET` with a query
string; one that may change something is a `POST` with a JSON object and takes an `Idempotency-Key` header, so that
trying it again does it once. Errors are explained in [errors.md](errors.md). A running hub describes the same
operations with all their types at `/api/openapi.json`.
"""
_EVENTS = """\
## Events

Every type of event, and the function that writes it. Those that no operation names are written where no request asks
for them: by collecting predictions, observing, taking turns of the loop, and adding rows to a dataset.
"""
_RAISES = re.compile(r"^\s*(\w+): ", re.MULTILINE)


def describe(operation: Operation[Any, Any]) -> str:
    """Describe one operation."""
    errors = _RAISES.findall((inspect.getdoc(operation) or "").partition("Raises:\n")[2])
    fields = msgspec.structs.fields(operation.input)
    hints = get_type_hints(operation.input)
    taken = {
        required: [f"`{one.encode_name}: {_type(hints[one.name])}`" for one in fields if one.required == required]
        for required in (True, False)
    }
    facts = {
        "Route": [f"`{'GET' if operation.reads else 'POST'} /api/v1{operation.path}`"],
        "Permission": [f"`{operation.permission}`"],
        "Events": [f"`{name}`" for name in operation.emits] or ["none, it only reads"],
        "Takes": taken[True],
        "May take": taken[False],
        "Returns": [f"`{_type(operation.output)}`"],
        "Errors": [f"`{name}`" for name in errors],
    }
    listed = "\n".join(flow(f"- {name}: {', '.join(said)}", "  ") for name, said in facts.items() if said)
    return f"### {operation.name}\n\n{flow(as_markdown(operation.summary))}\n\n{listed}"


def _type(kind: Any) -> str:
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    # The door says where a noun lives; here its name is enough.
    return re.sub(r"\b(?:[a-z_]+\.)+([A-Za-z]+)", r"\1", text)


def emitted() -> dict[str, list[str]]:
    """Return by type of event the functions that emit it, as ``file:function`` or ``file:Class.method``."""
    found: dict[str, list[str]] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        for name, function in _functions(ast.parse(file.read_text(encoding="utf-8"))):
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "emit":
                    place = f"{file.relative_to(SOURCE)}:{name}"
                    for kind in _kinds(call.args[0], place):
                        places = found.setdefault(kind, [])
                        places += [] if place in places else [place]
    return dict(sorted(found.items()))


def _kinds(node: ast.expr, place: str) -> list[str]:
    if isinstance(node, ast.IfExp):
        return [*_kinds(node.body, place), *_kinds(node.orelse, place)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    raise SystemExit(f"{place} emits an event whose type is not written out: nobody could find it.")


def _functions(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{one.name}", one) for one in node.body if isinstance(one, ast.FunctionDef))


def render() -> str:
    """Write the page."""
    parts = [_HEAD.rstrip()]
    for room, operations in groupby(all_operations().values(), lambda one: one.name.partition(".")[0]):
        parts.append(f"## {room}")
        parts += [describe(operation) for operation in operations]
    events = (f"- `{kind}`: {', '.join(f'`{place}`' for place in places)}" for kind, places in emitted().items())
    parts += [_EVENTS.rstrip(), "\n".join(flow(one, "  ") for one in events)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(run(PAGE, render, (__doc__ or "").partition("\n")[0]))
