"""Writes the rooms of `undrift.client` from the declarations of the operations.

``python scripts/generate_client.py`` writes ``src/undrift/client.py`` anew, below its mark; with ``--check`` it changes
nothing and exits with 1 when the file is not what it would write.
"""
# ruff: noqa: INP001 - a script, not part of the package

from __future__ import annotations

import argparse
import inspect
import re
import shutil
import subprocess
import sys
import textwrap
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from undrift.core.operation import Operation
from undrift.operations import ROOMS, all_operations

FILE = Path(__file__).parents[1] / "src" / "undrift" / "client.py"
MARK = "# --- What follows is written by scripts/generate_client.py from the declarations of the operations. ---\n"

_WIDTH = 120
_INDENT = 8

_PLAIN: Mapping[Any, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    dict: "dict",
    list: "list",
    tuple: "tuple",
    type(None): "None",
    Any: "Any",
    datetime: "datetime",
}


def render_type(kind: Any) -> str:
    """Write a type as source code; Structs by the door of their room.

    Raises:
        SystemExit: It is of a kind that no client can name.
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " | ".join(render_type(part) for part in parts)
    if origin is Literal:
        return f"Literal[{', '.join(repr(part) for part in parts)}]"
    if origin in _PLAIN:
        return f"{_PLAIN[origin]}[{', '.join('...' if part is Ellipsis else render_type(part) for part in parts)}]"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _named(kind)
    raise SystemExit(f"{kind!r} cannot be written in the client.")


def _named(kind: type) -> str:
    room = _room_of(kind.__module__)
    if getattr(room, kind.__name__, None) is not kind or kind.__name__ not in room.__all__:
        raise SystemExit(f"{kind.__module__}.{kind.__name__} is part of an operation, but not offered by its door.")
    return f"{_short(room)}.{kind.__name__}"


def _room_of(module: str) -> ModuleType:
    found = [room for room in ROOMS if module.startswith(room.__name__ + ".")]
    if not found:
        raise SystemExit(f"{module} is in no room of undrift.operations.ROOMS.")
    return found[0]


def _short(room: ModuleType) -> str:
    return room.__name__.rpartition(".")[2]


def render_method(operation: Operation[Any, Any]) -> str:
    """Write the method of one operation."""
    verb = operation.name.partition(".")[2]
    hints = get_type_hints(operation.input)
    required, optional, given = [], [], []
    for field in msgspec.structs.fields(operation.input):
        if field.name in {_short(room) for room in ROOMS}:
            raise SystemExit(f"{operation.name} has a field {field.name!r}, which hides the room of that name.")
        kind = render_type(hints[field.name])
        given.append(f"{field.name}={field.name}")
        if field.required:
            required.append(f"{field.name}: {kind}")
        elif field.default is not msgspec.NODEFAULT:
            optional.append(f"{field.name}: {kind} = {field.default!r}")
        else:
            # A default that can be changed must not be shared between calls.
            optional.append(f"{field.name}: {kind} | None = None")
            given[-1] = f"{field.name}={field.default_factory()!r} if {field.name} is None else {field.name}"
    passed_on = ""
    if not operation.reads:
        optional.append("idempotency_key: str | None = None")
        passed_on = ", idempotency_key=idempotency_key"
    named = [*required, *optional]
    parameters = f", *, {', '.join(named)}" if named else ""
    doc = textwrap.indent(wrap(inspect.getdoc(operation) or ""), " " * _INDENT).strip()
    lines = [
        f"    def {verb}(self{parameters}) -> {render_type(operation.output)}:",
        f'        """{doc}' + ('\n        """' if "\n" in doc else '"""'),
        f"        request = {_named(operation.input)}({', '.join(given)})",
        f"        return self._transport.call({_named_handler(operation)}, request{passed_on})",
    ]
    return "\n".join(lines)


def wrap(doc: str) -> str:
    """Break the lines of a docstring anew, for it stands deeper in a method than in a module."""
    wrapped: list[str] = []
    for block in doc.split("\n\n"):
        # A paragraph begins without indent, a section's entry with four spaces; what stands deeper goes on with it.
        begun: list[str] = []
        for line in block.split("\n"):
            depth = len(line) - len(line.lstrip())
            if begun and (depth > 4 or (depth == 0 and not begun[-1].endswith(":"))):
                begun[-1] += f" {line.strip()}"
            else:
                begun.append(line)
        for line in begun:
            depth = len(line) - len(line.lstrip())
            again = " " * (depth + 4 if depth else 0)
            wrapped += textwrap.wrap(line, _WIDTH - _INDENT, subsequent_indent=again, break_on_hyphens=False)
        wrapped.append("")
    return "\n".join(wrapped).rstrip()


def _named_handler(operation: Operation[Any, Any]) -> str:
    room = _room_of(operation.__module__)
    name = next(name for name in room.__all__ if getattr(room, name) is operation)
    return f"{_short(room)}.{name}"


def render_room(room: ModuleType, operations: list[Operation[Any, Any]]) -> str:
    """Write the class of one room."""
    name = _short(room)
    methods = "\n\n".join(render_method(operation) for operation in operations)
    for verb in {operation.name.partition(".")[2] for operation in operations} & {"list", "dict", "tuple"}:
        # Inside the class this name is the method.
        methods = re.sub(rf"(?<![\w.]){verb}\[", f"builtins.{verb}[", methods)
    return (
        f'class {name.capitalize()}:\n    """{_heading(room)}"""\n\n'
        "    def __init__(self, transport: Transport) -> None:\n"
        f"        self._transport = transport\n\n{methods}\n"
    )


def render_client(rooms: list[ModuleType]) -> str:
    """Write the class that holds the rooms."""
    attributes = "\n".join(f"        {_short(room)}: {_heading(room)}" for room in rooms)
    made = "\n".join(f"        self.{_short(room)} = {_short(room).capitalize()}(self._transport)" for room in rooms)
    return (
        "class Client(Connection):\n"
        '    """Everything undrift can do, by room; made by `connect`.\n\n'
        f'    Attributes:\n{attributes}\n    """\n\n'
        "    def __init__(self, transport: Transport, close: Callable[[], None]) -> None:\n"
        f"        super().__init__(transport, close)\n{made}\n"
    )


def _heading(room: ModuleType) -> str:
    said = (inspect.getdoc(room) or "").partition("\n\n")[0].replace("\n", " ").partition(": ")[2]
    return said[:1].upper() + said[1:]


def render() -> str:
    """Write the part below the mark."""
    by_room: dict[ModuleType, list[Operation[Any, Any]]] = {}
    for operation in all_operations().values():
        by_room.setdefault(_room_of(operation.__module__), []).append(operation)
    rooms = sorted(by_room, key=_short)
    parts = [render_room(room, by_room[room]) for room in rooms]
    return "\n\n".join(["", *parts, render_client(rooms)])


def formatted(text: str) -> str:
    """Return source code as `ruff format` writes it."""
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or "ruff"
    command = [ruff, "format", "--stdin-filename", str(FILE), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603


def main(arguments: list[str] | None = None) -> int:
    """Write the client, or check it; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when the file is stale")
    check: bool = parser.parse_args(arguments).check
    there = FILE.read_text()
    head, mark, _ = there.partition(MARK)
    if not mark:
        raise SystemExit(f"{FILE} has lost its mark: {MARK}")
    wanted = formatted(head + MARK + render())
    if wanted == there:
        return 0
    if check:
        sys.stderr.write(f"{FILE} is stale: run `python scripts/generate_client.py`.\n")
        return 1
    FILE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
