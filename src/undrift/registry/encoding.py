"""Turns named columns into the numbers a model was trained on: the same code in training and in serving."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from undrift.core.errors import Invalid
from undrift.registry.model import Field, Signature

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

__all__ = ["encode", "encode_frame", "encoder", "signature_of"]


def signature_of(features: pl.DataFrame, *, task: str, output: str, nullable: Sequence[str] = ()) -> Signature:
    """Describe the columns of a training table: type, whether values are missing, and categories of strings.

    Args:
        features: The columns the model takes, in order.
        task: ``classification`` or ``regression``.
        output: What the model predicts.
        nullable: Columns that may be missing in production although none was in training.

    Raises:
        Invalid: A column is of a type that no model input can have.
    """
    import polars as pl  # noqa: PLC0415 - the hub asks for signatures of known versions only

    fields = []
    for name, dtype in features.schema.items():
        column = features[name]
        missing = column.null_count() > 0 or name in nullable
        if dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum):
            seen = tuple(sorted(column.cast(pl.String).drop_nulls().unique().to_list()))
            fields.append(Field(name, "string", missing, seen))
        elif dtype == pl.Boolean:
            fields.append(Field(name, "bool", missing))
        elif dtype.is_integer():
            fields.append(Field(name, "int", missing))
        elif dtype.is_float() or dtype.is_decimal():
            fields.append(Field(name, "float", missing or (dtype.is_float() and bool(column.is_nan().any()))))
        else:
            raise Invalid(
                f"Column {name!r} is of type {dtype}; a model takes numbers, booleans and strings.",
                next_step="Turn it into one of these in the feature view.",
            )
    return Signature(tuple(fields), "classification" if task == "classification" else "regression", output)


def encoder(field: Field) -> Callable[[Sequence[Any]], np.ndarray]:
    """Return a function that turns the values of one column into float32.

    Strings become the place of their category; one that training never saw becomes missing. Missing becomes NaN. The
    function raises Invalid when a value is not of the field's type, or is missing where none may be.
    """
    import numpy as np  # noqa: PLC0415 - see above

    nan = float("nan")
    if field.type == "string":
        codes: dict[Any, float] = {value: float(place) for place, value in enumerate(field.categories)}

        def strings(values: Sequence[Any]) -> np.ndarray:
            coded = np.array([codes.get(value, nan) for value in values], dtype=np.float32)
            if np.isnan(coded).any():
                for value in values:
                    if value is None:
                        _refuse_missing(field)
                    elif not isinstance(value, str):
                        raise _wrong_type(field, value)
            return coded

        return strings

    allowed = {"float": (int, float), "int": (int,), "bool": (bool,)}[field.type]

    def numbers(values: Sequence[Any]) -> np.ndarray:
        for value in values:
            if value is None or value != value:  # noqa: PLR0124 - NaN is the number that differs from itself
                _refuse_missing(field)
            elif not isinstance(value, allowed) or (isinstance(value, bool) and field.type != "bool"):
                # A whole number written with a point is the same number.
                if field.type == "int" and isinstance(value, float) and value.is_integer():
                    continue
                raise _wrong_type(field, value)
        try:
            with np.errstate(over="ignore"):
                return np.array([nan if value is None else value for value in values], dtype=np.float32)
        except OverflowError:
            raise Invalid(f"Column {field.name!r} has a number too large to compute with.") from None

    return numbers


def encode(signature: Signature, columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """Turn named columns into a float32 matrix of shape (rows, inputs).

    Raises:
        Invalid: Columns are missing, unknown or of different lengths, or a value does not fit its field.

    >>> both = Signature((Field("hour", "int"), Field("carrier", "string", True, ("AA", "UA"))), "regression", "delay")
    >>> encode(both, {"hour": [5, 6], "carrier": ["UA", None]}).tolist()
    [[5.0, 1.0], [6.0, nan]]
    """
    import numpy as np  # noqa: PLC0415 - see above

    names = [field.name for field in signature.inputs]
    missing = [name for name in names if name not in columns]
    unknown = [name for name in columns if name not in set(names)]
    if missing or unknown:
        said = [f"missing: {', '.join(missing)}"] if missing else []
        said += [f"unknown: {', '.join(sorted(unknown))}"] if unknown else []
        raise Invalid(
            f"The columns do not fit the model ({'; '.join(said)}).",
            next_step=f"It takes {', '.join(names)}.",
            missing=missing,
            unknown=sorted(unknown),
        )
    lengths = {name: len(columns[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise Invalid(f"The columns have different numbers of rows: {lengths}.", next_step="Send one value per row.")
    return np.stack([encoder(field)(columns[field.name]) for field in signature.inputs], axis=1)


def encode_frame(signature: Signature, frame: pl.DataFrame) -> np.ndarray:
    """Turn a table into the same float32 matrix as `encode`, a column at a time; for training and batches.

    Raises:
        Invalid: Columns are missing.
    """
    import numpy as np  # noqa: PLC0415 - see above
    import polars as pl  # noqa: PLC0415 - see above

    missing = [field.name for field in signature.inputs if field.name not in frame.columns]
    if missing:
        raise Invalid(f"The table has no column {', '.join(missing)}.", next_step="The model was trained with them.")
    matrix = np.empty((frame.height, len(signature.inputs)), dtype=np.float32)
    for place, field in enumerate(signature.inputs):
        column = frame[field.name]
        if field.type == "string":
            codes = {value: float(code) for code, value in enumerate(field.categories)}
            column = column.cast(pl.String).replace_strict(codes, default=None, return_dtype=pl.Float32)
        matrix[:, place] = column.cast(pl.Float32).fill_null(float("nan")).to_numpy()
    return matrix


def _refuse_missing(field: Field) -> None:
    if not field.nullable:
        raise Invalid(
            f"Column {field.name!r} has a missing value, and the model was trained without any.",
            next_step="Send a value, or train a model that takes the column as nullable.",
            column=field.name,
        )


def _wrong_type(field: Field, value: object) -> Invalid:
    return Invalid(
        f"Column {field.name!r} takes {field.type} values, not {str(value)[:40]!r} ({type(value).__name__}).",
        next_step="Send values of the type the model's signature names.",
        column=field.name,
    )
