"""What requests must look like: rows of named columns, decoded straight into their types, checked before any work.

The types come from the champion's signature. A body is decoded once, by a decoder made for it (`Contract.read_rows`).
Only when that refuses is it read again, carefully (`Contract.careful_rows`), to say which row and which column is
wrong; or to accept what is right but written unusually, such as a whole number with a point.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from undrift.core.errors import Invalid, TooLarge
from undrift.registry import Field, Signature
from undrift.serving.frames import Layout

if TYPE_CHECKING:
    import numpy as np

__all__ = ["INTEGER", "ROWS_LIMIT", "Batch", "Coder", "Contract", "check_rows", "convert"]

ROWS_LIMIT = 10_000
_SAID = 10

INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: dict[str, Any] = {"float": float, "int": INTEGER, "bool": bool, "string": str}


class Batch(NamedTuple):
    """The rows of a request, as they were sent.

    Attributes:
        rows: How many.
        layout: How the values lie: ``flat`` (row after row), ``rows`` or ``columns``.
        values: They, of the types of the contract.
    """

    rows: int
    layout: Layout
    values: Sequence[Any]


class Contract:
    """What a signature asks of requests.

    Attributes:
        signature: Of the champion.
        names: Its columns, in order.
        numbers: Whether all columns are numbers, so that one tensor can carry them all.
        floats: Whether all columns are numbers with a fraction.
        nullable: Whether any column may be missing.
    """

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.names = tuple(field.name for field in signature.inputs)
        self.numbers = all(field.type in ("float", "int") for field in signature.inputs)
        self.floats = all(field.type == "float" for field in signature.inputs)
        self.nullable = any(field.nullable for field in signature.inputs)
        self.row = _row_type(signature)

    def careful_rows(self, rows: object) -> list[tuple[Any, ...]]:
        """Return the rows of a body that was decoded without types.

        Raises:
            Invalid: Something is wrong; the sentence names the row and the column.
            TooLarge: There are too many.
        """
        if not isinstance(rows, list):
            raise Invalid(
                "'rows' must be a list of objects, one a row.",
                next_step=f'Send {{"rows": [{{{", ".join(repr(name) for name in self.names[:3])}: …}}]}}.',
            )
        check_rows(len(rows))
        return [self._careful_row(place, row) for place, row in enumerate(rows)]

    def _careful_row(self, place: int, row: object) -> tuple[Any, ...]:
        if not isinstance(row, dict):
            raise Invalid(f"Row {place} is not an object with named columns.", row=place)
        if row.keys() != set(self.names):
            raise self.wrong_columns(row, where=f"Row {place}")
        return tuple(convert(field, row[field.name], place) for field in self.signature.inputs)

    def wrong_columns(self, given: Any, *, where: str) -> Invalid:
        """Say which columns are missing and which are unknown."""
        missing = [name for name in self.names if name not in given]
        unknown = sorted(str(name)[:100] for name in given if name not in self.names)
        said = [f"missing: {_listed(missing)}"] if missing else []
        said += [f"unknown: {_listed(unknown)}"] if unknown else []
        return Invalid(
            f"{where} does not have the columns of the model ({'; '.join(said)}).",
            next_step=f"It takes {_listed(self.names)}; send null where a nullable one is missing.",
            missing=missing[:_SAID],
            unknown=unknown[:_SAID],
        )


class Coder:
    """Turns the rows of a contract into the matrix of one model, as `undrift.registry.encode` does.

    The values were checked when they were decoded, so only categories are looked up here. A challenger may have its
    columns in another order, and other categories.
    """

    def __init__(self, contract: Contract, signature: Signature) -> None:
        places = {name: place for place, name in enumerate(contract.names)}
        self._width = len(contract.names)
        self._columns = [(places[field.name], _codes(field)) for field in signature.inputs]
        self._lookups = [(place, codes) for place, codes in self._columns if codes is not None]
        self._in_order = [place for place, _ in self._columns] == list(range(self._width))

    def matrix(self, batch: Batch) -> np.ndarray:
        """Return float32 of shape (rows, inputs); missing values and unknown categories are NaN."""
        import numpy as np  # noqa: PLC0415 - the hub opens this room without serving

        values = batch.values
        if self._in_order and not self._lookups and batch.layout == "flat":
            # The way of most requests. An array takes what is too large for float32 as infinity, without a warning.
            with suppress(TypeError):
                return np.frombuffer(array("f", values), dtype=np.float32).reshape(batch.rows, self._width)
        with np.errstate(over="ignore"):
            if self._in_order and batch.rows == 1 and batch.layout != "columns":
                row = values if batch.layout == "flat" else values[0]
                if self._lookups:
                    row = list(row)
                    for place, codes in self._lookups:
                        row[place] = codes.get(row[place], _NAN)
                return np.array(row, dtype=np.float32).reshape(1, self._width)
            if self._in_order and batch.layout == "flat" and not self._lookups:
                return np.array(values, dtype=np.float32).reshape(batch.rows, self._width)
            matrix = np.empty((batch.rows, len(self._columns)), dtype=np.float32)
            columns = self._split(batch)
            for to, (place, lookup) in enumerate(self._columns):
                column = columns[place]
                matrix[:, to] = column if lookup is None else [lookup.get(value, _NAN) for value in column]
            return matrix

    def together(self, batches: Sequence[Batch]) -> np.ndarray:
        """Return the rows of several requests as one matrix, in their order."""
        import numpy as np  # noqa: PLC0415 - see above

        if all(batch.layout == "flat" for batch in batches) and not self._lookups:
            values = list(chain.from_iterable(batch.values for batch in batches))
            return self.matrix(Batch(len(values) // self._width, "flat", values))
        return np.concatenate([self.matrix(batch) for batch in batches])

    def _split(self, batch: Batch) -> Sequence[Sequence[Any]]:
        if batch.layout == "columns":
            return batch.values
        if batch.layout == "rows":
            return list(zip(*batch.values, strict=True))
        return [batch.values[place :: self._width] for place in range(self._width)]


_NAN = float("nan")


def _codes(field: Field) -> dict[Any, float] | None:
    if field.type != "string":
        return None
    return {value: float(place) for place, value in enumerate(field.categories)}


def _row_type(signature: Signature) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any]] = []
    names: dict[str, str] = {}
    for place, field in enumerate(signature.inputs):
        kind = _TYPES[field.type]
        # Columns may have any name; attributes may not.
        names[f"c{place}"] = field.name
        fields.append((f"c{place}", kind | None if field.nullable else kind))
    return msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, gc=False)


def check_rows(rows: int) -> None:
    """Return when a request may have so many rows.

    Raises:
        Invalid: It has none.
        TooLarge: It has more than `ROWS_LIMIT`.
    """
    if rows < 1:
        raise Invalid("There is no row to score.", next_step="Send at least one.")
    if rows > ROWS_LIMIT:
        raise TooLarge(
            f"A request has at most {ROWS_LIMIT:,} rows, not {rows:,}.",
            next_step="Send several requests.",
            limit=ROWS_LIMIT,
        )


def convert(field: Field, value: Any, place: int) -> Any:
    """Return a value in the type of its column.

    Raises:
        Invalid: It is of another type, missing where it may not be, or too large; the sentence names the row.
    """
    if value is None:
        if field.nullable:
            return None
        raise Invalid(
            f"Row {place}: column {field.name!r} has a missing value, and the model was trained without any.",
            next_step="Send a value, or train a model that takes the column as nullable.",
            row=place,
            column=field.name,
        )
    kind = type(value)
    if field.type == "string" and kind is str:
        return value
    if field.type == "bool" and kind is bool:
        return value
    if field.type == "float" and kind in (float, int):
        return _float(field, value, place)
    if field.type == "int" and (kind is int or (kind is float and value.is_integer())):
        if not -(2**63) <= value < 2**63:
            raise _too_large(field, place)
        return int(value)
    raise Invalid(
        f"Row {place}: column {field.name!r} takes {field.type} values, not {str(value)[:40]!r} ({kind.__name__}).",
        next_step="Send values of the type the model's signature names.",
        row=place,
        column=field.name,
    )


def _float(field: Field, value: float, place: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _too_large(field, place) from None


def _too_large(field: Field, place: int) -> Invalid:
    return Invalid(
        f"Row {place}: column {field.name!r} has a number too large to compute with.", row=place, column=field.name
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SAID} more" if len(names) > _SAID else ""
    return ", ".join(names[:_SAID]) + more
