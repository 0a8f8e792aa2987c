"""Walks every operation there is, and asks of each what nobody should have to remember."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import types
import typing
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from litestar.testing import TestClient

import undrift
from undrift import client, registry
from undrift.core import Operation, operation
from undrift.core.context import Context
from undrift.core.errors import UndriftError
from undrift.hub import build_app
from undrift.operations import ROOMS, all_operations, collect
from undrift.workspace import Workspace

OPERATIONS = all_operations()
SOURCE = Path(undrift.__file__).parent
ROOM_NAMES = [room.__name__.rpartition(".")[2] for room in ROOMS]
SCALARS = {str, int, float, bool, datetime, types.NoneType}

# Events that are written on the way, by what no caller asks for as an operation.
NOT_BY_OPERATIONS = {
    "data": {"dataset.version_committed"},
    "loop": set(),
    "monitoring": {"window.closed", "window.restated", "incident.opened", "incident.extended", "incident.resolved"},
    "serving": {"predictions.collected"},
}


def each():
    return pytest.mark.parametrize("one", OPERATIONS.values(), ids=OPERATIONS)


def emitted_in(room):
    """The types of events that the code of a room emits, as literals."""
    found = set()
    for file in (SOURCE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit":
                first = node.args[0]
                for kind in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
                    assert isinstance(kind, ast.Constant), f"{file}:{node.lineno} emits a type that cannot be read here"
                    found.add(kind.value)
    return found


def kinds(hint):
    """The types a value may have."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return {kind for part in typing.get_args(hint) for kind in kinds(part)}
    return {type(part) for part in typing.get_args(hint)} if origin is typing.Literal else {hint}


@each()
def test_an_operation_is_named_after_the_room_it_lives_in_and_what_it_does(one):
    room, _, verb = one.name.partition(".")
    assert one.__module__.startswith(f"undrift.{room}.")
    assert room in ROOM_NAMES
    assert re.fullmatch(r"[a-z][a-z_]*", verb)


@each()
def test_an_operation_takes_a_frozen_struct(one):
    assert issubclass(one.input, msgspec.Struct)
    assert one.input.__struct_config__.frozen


@each()
def test_an_operation_says_in_a_sentence_what_it_does(one):
    assert one.summary.endswith(".")
    assert one.summary[0].isupper()


@each()
def test_an_operation_asks_for_a_permission(one):
    assert re.fullmatch(r"[a-z]+:[a-z]+", one.permission)


@each()
def test_an_operation_that_reads_needs_no_more_than_to_read(one):
    assert (one.permission.partition(":")[2] == "read") == one.reads


@each()
def test_events_that_an_operation_declares_are_emitted_by_its_room(one):
    assert set(one.emits) <= emitted_in(one.name.partition(".")[0])


@each()
def test_a_request_that_comes_from_a_query_string_may_leave_out_what_may_be_none(one):
    if not one.reads:
        return
    hints = typing.get_type_hints(one.input)
    for field in msgspec.structs.fields(one.input):
        allowed = kinds(hints[field.name])
        # Lists and Structs travel as JSON text; a text beside them could not be told from it.
        assert allowed <= SCALARS or str not in allowed, f"{one.name} takes {field.name} as {hints[field.name]}"
        if types.NoneType in allowed:
            # A query string cannot say None: leaving the name out must mean it.
            assert field.default is None


@each()
def test_input_and_output_can_be_described_to_other_languages(one):
    msgspec.json.schema(one.input)
    msgspec.json.schema(one.output)


@pytest.mark.parametrize("room", ROOM_NAMES)
def test_events_that_a_room_emits_are_declared(room):
    declared = {kind for one in OPERATIONS.values() if one.name.startswith(f"{room}.") for kind in one.emits}
    assert emitted_in(room) - declared == NOT_BY_OPERATIONS.get(room, set())


@each()
def test_the_client_has_a_typed_method_with_the_words_of_the_operation(one):
    room, _, verb = one.name.partition(".")
    method = getattr(getattr(client, room.capitalize()), verb)
    hints = typing.get_type_hints(method)
    key = {} if one.reads else {"idempotency_key": str | None}
    fields = {field.name for field in msgspec.structs.fields(one.input)}
    assert hints.pop("return") == one.output
    assert set(hints) == fields | set(key)
    assert " ".join(method.__doc__.split()) == " ".join(one.__doc__.split())


def test_every_operation_has_a_route_of_its_method(tmp_path):
    workspace = Workspace.open(tmp_path / "workspace", create=True)
    with TestClient(build_app(workspace), base_url="http://127.0.0.1:7470") as http:
        for one in OPERATIONS.values():
            # The other method is refused with the right one, so that nothing is done here.
            answer = http.request("POST" if one.reads else "GET", f"/api/v1{one.path}")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET" if one.reads else "POST")
    workspace.close()


def test_no_operation_is_left_behind_its_door():
    declared = {}
    for module in pkgutil.walk_packages(undrift.__path__, "undrift."):
        if "migrations" in module.name or module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Operation):
                declared[value.name] = value
    assert declared == OPERATIONS


def test_two_operations_of_one_name_are_refused():
    @operation("registry.list_models", permission="registry:read")
    def another(ctx: Context, request: registry.ListModels) -> None:
        """Be another one."""

    room = types.SimpleNamespace(__all__=["another"], another=another)
    with pytest.raises(UndriftError, match=r"registry\.list_models"):
        collect([registry, room])
