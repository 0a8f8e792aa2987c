"""The Open Inference Protocol, version 2, over REST: how requests are read, and how models and answers are told.

Columns come as one tensor each, named like the column, of shape [n] or [n, 1]; or, where all are numbers, together in
one tensor named ``features`` of shape [n, columns]. ``null`` stands for a missing value where the column may be
missing. Data is JSON; the binary extension is not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import msgspec

from undrift.core.errors import Invalid
from undrift.registry import Field, Signature
from undrift.serving.asks import Ask, Extras, ask_of, decoded
from undrift.serving.contract import INTEGER, Batch, Contract, check_rows, convert

__all__ = ["FEATURES", "Output", "metadata", "oip_reader"]

FEATURES = "features"

_FLOATS = ("FP16", "FP32", "FP64")
_INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
_KINDS: dict[str, Any] = {
    **dict.fromkeys(_FLOATS, float),
    **dict.fromkeys(_INTEGERS, INTEGER),
    "BOOL": bool,
    "BYTES": str,
}
_ACCEPTED = {"float": (*_FLOATS, *_INTEGERS), "int": (*_INTEGERS, *_FLOATS), "bool": ("BOOL",), "string": ("BYTES",)}
_TOLD = {"float": "FP64", "int": "INT64", "bool": "BOOL", "string": "BYTES"}

_flat = {name: msgspec.json.Decoder(list[kind | None]).decode for name, kind in _KINDS.items()}  # type: ignore[valid-type]
_nested = {name: msgspec.json.Decoder(list[list[kind | None]]).decode for name, kind in _KINDS.items()}  # type: ignore[valid-type]
_numbers = msgspec.json.Decoder(list[float]).decode


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw


class Output(msgspec.Struct):
    """An output a client asks for by name."""

    name: str


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: Extras | None = None
    outputs: list[Output] | None = None


_decode = msgspec.json.Decoder(_Request).decode


def oip_reader(contract: Contract) -> Callable[[bytes], Ask]:
    """Return the function that reads the bodies of ``POST /v2/models/{name}/infer``.

    It raises Invalid, and TooLarge for more rows than a request may have.
    """
    width = len(contract.names)
    fields = {field.name: field for field in contract.signature.inputs}
    plain = contract.floats and not contract.nullable
    together = contract.numbers and FEATURES not in fields
    output = contract.signature.output

    def read(body: bytes) -> Ask:
        request: _Request = decoded(_decode, body)
        if request.outputs is not None:
            _check_outputs(request.outputs, output)
        inputs = request.inputs
        alone = together and len(inputs) == 1 and inputs[0].name == FEATURES
        return ask_of(features(inputs[0]) if alone else columns(inputs), request.parameters, request.id)

    def features(tensor: _Tensor) -> Batch:
        shape = tensor.shape
        if tensor.datatype not in _FLOATS:
            raise Invalid(f"{FEATURES!r} must be FP32 or FP64, not {tensor.datatype[:20]!r}.")
        if len(shape) != 2 or shape[1] != width:
            raise Invalid(
                f"{FEATURES!r} must be of shape [rows, {width}], not {shape[:6]}.",
                next_step=f"Its columns are, in this order: {', '.join(contract.names[:50])}.",
            )
        check_rows(shape[0])
        values: Sequence[Any]
        if plain:
            try:
                values = _numbers(tensor.data)
            except (msgspec.DecodeError, RecursionError):
                values = _data(tensor)
        else:
            values = _data(tensor)
        if len(values) != shape[0] * width:
            raise _wrong_length(tensor, len(values))
        if not contract.floats or None in values:
            rows = [values[start : start + width] for start in range(0, len(values), width)]
            values = [
                convert(field, value, place)
                for place, row in enumerate(rows)
                for field, value in zip(contract.signature.inputs, row, strict=True)
            ]
        return Batch(shape[0], "flat", values)

    def columns(inputs: list[_Tensor]) -> Batch:
        given = {tensor.name: tensor for tensor in inputs}
        if len(given) != len(inputs):
            raise Invalid("An input comes twice.", next_step="Send one tensor a column.")
        if given.keys() != fields.keys():
            raise contract.wrong_columns(given, where="The request")
        rows = given[contract.names[0]].shape[0] if given[contract.names[0]].shape else 0
        check_rows(rows)
        return Batch(rows, "columns", [_column(fields[name], given[name], rows) for name in contract.names])

    return read


def _column(field: Field, tensor: _Tensor, rows: int) -> list[Any]:
    if tensor.datatype not in _ACCEPTED[field.type]:
        raise Invalid(
            f"Input {field.name!r} takes {field.type} values, not {tensor.datatype[:20]!r}.",
            next_step=f"Send it as {_TOLD[field.type]}.",
            column=field.name,
        )
    shape = tensor.shape
    if shape not in ([rows], [rows, 1]):
        raise Invalid(
            f"Input {field.name!r} has shape {shape[:6]}, and the first one has {rows} rows.",
            next_step=f"Send each column with shape [{rows}] or [{rows}, 1].",
            column=field.name,
        )
    values = _data(tensor)
    if len(values) != rows:
        raise _wrong_length(tensor, len(values))
    if not field.nullable and None not in values and field.type == "float" and tensor.datatype in _FLOATS:
        return values
    return [convert(field, value, place) for place, value in enumerate(values)]


def _data(tensor: _Tensor) -> list[Any]:
    """Return the values of a tensor, row after row, whether they were sent flat or nested."""
    if tensor.datatype not in _KINDS:
        raise Invalid(
            f"Input {tensor.name[:100]!r} has the unknown datatype {tensor.datatype[:20]!r}.",
            next_step=f"Known are {', '.join(_KINDS)}.",
        )
    try:
        return _flat[tensor.datatype](tensor.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = error
    try:
        return list(chain.from_iterable(_nested[tensor.datatype](tensor.data)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)[:300]
        raise Invalid(
            f"The data of input {tensor.name[:100]!r} is not {tensor.datatype}: {said}.",
            next_step="Send a list of values of that datatype; null where a nullable column is missing.",
            column=tensor.name[:100],
        ) from None


def _wrong_length(tensor: _Tensor, given: int) -> Invalid:
    return Invalid(
        f"Input {tensor.name[:100]!r} has {given} values, and its shape {tensor.shape[:6]} asks for another number."
    )


def _check_outputs(outputs: list[Output], known: str) -> None:
    unknown = [one.name for one in outputs if one.name != known]
    if unknown:
        raise Invalid(f"There is no output {unknown[0][:100]!r}.", next_step=f"The model gives {known!r}.")


def metadata(endpoint: str, signature: Signature, versions: Sequence[int]) -> dict[str, Any]:
    """Describe a model: what it takes and gives."""
    return {
        "name": endpoint,
        "versions": [str(number) for number in versions],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {
                "name": field.name,
                "datatype": _TOLD[field.type],
                "shape": [-1],
                "parameters": {"nullable": field.nullable},
            }
            for field in signature.inputs
        ],
        "outputs": [{"name": signature.output, "datatype": "FP64", "shape": [-1]}],
    }
