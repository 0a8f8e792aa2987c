"""Requests as MLflow's clients send them: JSON of protocol buffers, read with all the liberties those take.

A message is declared once, as a Struct; `read` makes one of whatever came. Names may be written ``run_id`` or
``runId``, whole numbers as text, enumerations by name or number, numbers that JSON does not have as words; unknown
fields are passed over, ``null`` counts as absent, and empty counts as missing where a field is required.
"""

from __future__ import annotations

import enum
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec

from undrift.core.errors import Invalid

__all__ = ["SEE", "KeyValue", "Message", "loads", "missing", "read", "wrong"]

M = TypeVar("M", bound="Message")

SEE = "See the API docs for more information about request parameters."
_WHOLE = 2**63


class Message(msgspec.Struct):
    """A request, or a part of one: fields without a default are required."""


class KeyValue(Message):
    """A tag or a parameter."""

    key: str
    value: str = ""


def missing(path: str) -> Invalid:
    """Make the error for a field that is required and was not sent."""
    return Invalid(f"Missing value for required parameter '{path}'. {SEE}", parameter=path)


def wrong(path: str, value: Any, reason: str) -> Invalid:
    """Make the error for a value that a field cannot have."""
    try:
        said = json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        said = repr(type(value).__name__)
    said = said if len(said) <= 200 else said[:200] + "…"
    return Invalid(f"Invalid value {said} for parameter '{path}' supplied: {reason}", parameter=path)


def loads(body: bytes) -> Any:
    """Return what a body holds; nothing when it is not JSON. Python's own ``NaN`` and ``Infinity`` are understood."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return None


def read(kind: type[M], data: Any, *, query: bool = False, where: str = "") -> M:
    """Make a message of what came.

    Args:
        kind: The message.
        data: A mapping from names to values; anything else counts as empty.
        query: Whether the values are lists of texts, as in a query string.
        where: The path of the message inside another one.

    Raises:
        Invalid: A required field is missing, or a value is of another type; the sentence names the field.
    """
    given: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    values: dict[str, Any] = {}
    for field in _shape(kind):
        path = f"{where}.{field.name}" if where else field.name
        value = _pick(field, given, path)
        if query and isinstance(value, list) and not field.many:
            value = value[0] if value else None
        if value is not None:
            value = field.read(value, path)
        if value is None or (field.required and value in ("", ())):
            if field.required:
                raise missing(path)
            continue
        values[field.name] = value
    return kind(**values)


class _Field(msgspec.Struct, frozen=True):
    name: str
    names: tuple[str, ...]
    required: bool
    many: bool
    read: Callable[[Any, str], Any]


def _pick(field: _Field, given: Mapping[str, Any], path: str) -> Any:
    found = [name for name in field.names if name in given]
    if len(found) > 1 and field.name != "run_id":
        raise Invalid(f"The parameter '{path}' is given twice: as {found[0]!r} and as {found[1]!r}.")
    return next((given[name] for name in found if given[name] not in (None, "")), given[found[0]] if found else None)


@cache
def _shape(kind: type[Message]) -> tuple[_Field, ...]:
    fields = []
    for info in msgspec.structs.fields(kind):
        names = [info.name, _camel(info.name)] if "_" in info.name else [info.name]
        if info.name == "run_id":
            names += ["run_uuid", "runUuid"]  # what it was called before
        many = typing.get_origin(info.type) in {list, tuple}
        fields.append(_Field(info.name, tuple(names), info.required, many, _reader(info.type)))
    return tuple(fields)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _reader(kind: Any) -> Callable[[Any, str], Any]:
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        (kind,) = (one for one in typing.get_args(kind) if one is not type(None))
    if typing.get_origin(kind) in {list, tuple}:
        return _list_reader(_reader(typing.get_args(kind)[0]))
    if issubclass(kind, Message):
        return lambda value, path: _object(kind, value, path)
    if issubclass(kind, enum.IntEnum):
        return lambda value, path: _enum(kind, value, path)
    return {str: _text, int: _whole, float: _number, bool: _truth}[kind]


def _list_reader(one: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def read_list(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _mistyped(path, value)
        return tuple(one(item, f"{path}[{place}]") for place, item in enumerate(value))

    return read_list


def _mistyped(path: str, value: Any) -> Invalid:
    return wrong(path, value, f"Hint: Value was of type '{type(value).__name__}'. {SEE}")


def _object(kind: type[Message], value: Any, path: str) -> Message:
    if not isinstance(value, dict):
        raise _mistyped(path, value)
    return read(kind, value, where=path)


def _enum(kind: type[enum.IntEnum], value: Any, path: str) -> enum.IntEnum | None:
    # A name that nobody knows is passed over, as an unknown field is.
    if isinstance(value, str) and not value.isdigit():
        return kind.__members__.get(value)
    number = _whole(value, path)
    return kind(number) if number in kind.__members__.values() else None


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _mistyped(path, value)
    if "\0" in value:
        raise wrong(path, value, "No text can have a NUL.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise wrong(path, value, "It holds half of a surrogate pair, which no text can have.") from None
    return value


def _whole(value: Any, path: str) -> int:
    if isinstance(value, str) and len(value) <= 25:
        try:
            value = int(value) if value.removeprefix("-").isdigit() else float(value)
        except ValueError:
            raise _mistyped(path, value) from None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -_WHOLE <= value < _WHOLE:
        raise _mistyped(path, value)
    return value


_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _number(value: Any, path: str) -> float:
    if isinstance(value, str):
        if value in _WORDS:
            return _WORDS[value]
        try:
            number = float(value)
        except ValueError:
            raise _mistyped(path, value) from None
        if not math.isfinite(number) or "_" in value:
            raise _mistyped(path, value)
        return number
    if not isinstance(value, int | float):
        raise _mistyped(path, value)
    try:
        return float(value)
    except OverflowError:
        raise _mistyped(path, value) from None


def _truth(value: Any, path: str) -> bool:
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _mistyped(path, value)
    return value
