"""Every operation there is, collected from the doors of the rooms, and how a request for one is read.

Routes, the client, the OpenAPI document and the tests that walk all operations are made from `all_operations`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import msgspec
import msgspec.inspect

from undrift import data, events, governance, loop, monitoring, registry, serving, tracking
from undrift.core.errors import Invalid, UndriftError
from undrift.core.operation import Operation

__all__ = ["ROOMS", "all_operations", "collect", "read_body", "read_query"]

ROOMS: tuple[ModuleType, ...] = (data, events, governance, loop, monitoring, registry, serving, tracking)
"""The doors that may offer operations; a test finds operations that no door offers."""

_LONG_NUMBER = re.compile(r"\d{19}")
_WHOLE = 2**63
_PACKED = (
    msgspec.inspect.CollectionType,
    msgspec.inspect.TupleType,
    msgspec.inspect.DictType,
    msgspec.inspect.StructType,
)


def all_operations() -> dict[str, Operation[Any, Any]]:
    """Return every operation by its name, in the order of the names.

    Raises:
        UndriftError: Two operations have the same name.
    """
    return collect(ROOMS)


def collect(rooms: Iterable[ModuleType]) -> dict[str, Operation[Any, Any]]:
    """Return the operations that these doors offer, by name, in the order of the names.

    Raises:
        UndriftError: Two operations have the same name.
    """
    found: dict[str, Operation[Any, Any]] = {}
    for room in rooms:
        for name in room.__all__:
            offered = getattr(room, name)
            if not isinstance(offered, Operation):
                continue
            if found.setdefault(offered.name, offered) is not offered:
                raise UndriftError(f"Two operations are named {offered.name!r}.", next_step="Rename one of them.")
    return dict(sorted(found.items()))


def read_body(operation: Operation[Any, Any], body: bytes) -> Any:
    """Read a request for an operation from JSON.

    Raises:
        Invalid: It is no JSON, or does not fit the operation; the sentence names the field.
    """
    try:
        given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        _refuse_unknown(operation, list(given))
        request = msgspec.json.decode(body, type=operation.input)
    except msgspec.ValidationError as error:
        raise _misfit(operation, error) from None
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Invalid(
            f"The request for {operation.name} is not JSON that can be read: {said}.", next_step=_takes(operation)
        ) from None
    if _LONG_NUMBER.search(body.decode()):
        _refuse_long_numbers(operation, request)
    return request


def read_query(operation: Operation[Any, Any], pairs: Sequence[tuple[str, str]]) -> Any:
    """Read a request for an operation from the names and values of a query string.

    Raises:
        Invalid: A name is unknown or given twice, or a value does not fit; the sentence names it.
    """
    given = dict(pairs)
    _refuse_unknown(operation, list(given))
    if len(given) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"The parameter {twice!r} of {operation.name} is given twice.", next_step="Give it once.")
    try:
        request = msgspec.convert(_unpacked(operation, given), operation.input, strict=False)
    except msgspec.ValidationError as error:
        raise _misfit(operation, error) from None
    _refuse_long_numbers(operation, request)
    return request


def _unpacked(operation: Operation[Any, Any], given: dict[str, str]) -> dict[str, Any]:
    # Lists and Structs travel as JSON text, as `HttpTransport` writes them.
    found: dict[str, Any] = dict(given)
    for field in msgspec.inspect.type_info(operation.input).fields:  # type: ignore[attr-defined]  # it is a Struct
        kinds = getattr(field.type, "types", (field.type,))
        if field.encode_name in given and any(isinstance(kind, _PACKED) for kind in kinds):
            try:
                found[field.encode_name] = msgspec.json.decode(given[field.encode_name])
            except (ValueError, RecursionError):
                raise Invalid(
                    f"The parameter {field.encode_name!r} of {operation.name} is not JSON.",
                    next_step='Write a list as JSON text: ["a", "b"].',
                    field=field.encode_name,
                ) from None
    return found


def _refuse_unknown(operation: Operation[Any, Any], names: Sequence[str]) -> None:
    # A misspelt name that is passed over would change what is asked.
    known = {field.encode_name for field in msgspec.structs.fields(operation.input)}
    unknown = sorted(set(names) - known)
    if unknown:
        said = ", ".join(name[:80] for name in unknown[:10])
        raise Invalid(f"{operation.name} does not know {said}.", next_step=_takes(operation), unknown=unknown[:10])


def _refuse_long_numbers(operation: Operation[Any, Any], value: Any, path: str = "") -> None:
    # No database keeps them. Numbers inside free-form values are JSON text, whatever their length.
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _refuse_long_numbers(operation, getattr(value, name), f"{path}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            _refuse_long_numbers(operation, one, f"{path}[{place}]")
    elif isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
        raise Invalid(
            f"The request does not fit {operation.name}: the number in {path!r} is too large to be kept.",
            next_step="Whole numbers lie between -2^63 and 2^63 - 1.",
            field=path,
        )


def _misfit(operation: Operation[Any, Any], error: msgspec.ValidationError) -> Invalid:
    said, _, place = str(error).partition(" - at `")
    field = place.rstrip("`").removeprefix("$").lstrip(".")
    where = f" in {field!r}" if field else ""
    return Invalid(
        f"The request does not fit {operation.name}: {said[:1].lower()}{said[1:]}{where}.",
        next_step=_takes(operation),
        field=field,
    )


def _takes(operation: Operation[Any, Any]) -> str:
    said = [
        field.encode_name if field.required else f"{field.encode_name} (may be left out)"
        for field in msgspec.structs.fields(operation.input)
    ]
    return f"It takes {', '.join(said)}." if said else "It takes nothing."
