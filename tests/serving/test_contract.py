"""The fast way of reading and encoding agrees with the careful one, and both with the code of training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core.errors import Invalid, TooLarge
from undrift.registry import Field, Signature, encode
from undrift.serving.asks import predict_reader
from undrift.serving.contract import Batch, Coder, Contract
from undrift.serving.oip import oip_reader

VALUES = {
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70),
    "int": st.integers(-(2**63), 2**63 - 1) | st.integers(-1000, 1000).map(float),
    "bool": st.booleans(),
    "string": st.sampled_from(["AA", "UA", "never seen", ""]),
}
DATATYPES = {"float": "FP64", "int": "INT64", "bool": "BOOL", "string": "BYTES"}


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.tuples(st.sampled_from(sorted(VALUES)), st.booleans()), min_size=1, max_size=5))
    inputs = tuple(
        Field(f"column {place}", kind, nullable, ("AA", "UA") if kind == "string" else ())
        for place, (kind, nullable) in enumerate(kinds)
    )
    rows = draw(st.integers(1, 4))
    columns = {}
    for field in inputs:
        one = VALUES[field.type] | st.none() if field.nullable else VALUES[field.type]
        columns[field.name] = draw(st.lists(one, min_size=rows, max_size=rows))
    return Signature(inputs, "classification", "late"), columns


def same(one, other):
    return np.array_equal(one, other, equal_nan=True)


@given(tables())
def test_named_rows_are_encoded_as_in_training(table):
    signature, columns = table
    contract = Contract(signature)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    ask = predict_reader(contract)(json.dumps({"rows": rows}).encode())
    assert same(Coder(contract, signature).matrix(ask.batch), encode(signature, columns))
    careful = contract.careful_rows(rows)
    assert same(Coder(contract, signature).matrix(Batch(len(rows), "rows", careful)), encode(signature, columns))


@given(tables())
def test_tensors_are_encoded_as_in_training(table):
    signature, columns = table
    contract = Contract(signature)
    rows = len(next(iter(columns.values())))
    inputs = []
    for field in signature.inputs:
        data = columns[field.name]
        if field.type == "int":
            data = [None if value is None else int(value) for value in data]
        elif field.type == "float":
            data = [None if value is None else float(value) for value in data]
        inputs.append({"name": field.name, "datatype": DATATYPES[field.type], "shape": [rows, 1], "data": data})
    ask = oip_reader(contract)(json.dumps({"inputs": inputs}).encode())
    assert same(Coder(contract, signature).matrix(ask.batch), encode(signature, columns))


@given(tables(), st.randoms(use_true_random=False))
def test_a_challenger_with_its_columns_in_another_order_gets_them_in_its_own(table, chance):
    signature, columns = table
    shuffled = list(signature.inputs)
    chance.shuffle(shuffled)
    other = Signature(tuple(shuffled), "classification", "late")
    contract = Contract(signature)
    batch = Batch(len(next(iter(columns.values()))), "columns", list(columns.values()))
    assert same(Coder(contract, other).matrix(batch), encode(other, columns))


@given(tables(), st.integers(1, 3))
def test_requests_scored_together_are_encoded_as_alone(table, times):
    signature, columns = table
    contract = Contract(signature)
    rows = list(zip(*columns.values(), strict=True))
    coder = Coder(contract, signature)
    flat = Batch(1, "flat", rows[0])
    several = [Batch(len(rows), "rows", rows), *[flat] * times]
    assert same(coder.together(several), np.concatenate([coder.matrix(one) for one in several]))
    assert same(coder.together([flat] * times), np.concatenate([coder.matrix(flat)] * times))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=2, max_size=2), st.booleans())
def test_one_tensor_of_all_features_is_encoded_as_in_training(values, nested):
    signature = Signature((Field("a", "float"), Field("b", "float")), "regression", "late")
    contract = Contract(signature)
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [values] if nested else values}
    ask = oip_reader(contract)(json.dumps({"inputs": [tensor]}).encode())
    expected = encode(signature, {"a": values[:1], "b": values[1:]})
    assert same(Coder(contract, signature).matrix(ask.batch), expected)


def test_one_tensor_may_carry_whole_numbers_and_missing_ones():
    signature = Signature((Field("hour", "int"), Field("wind", "float", True)), "regression", "delay")
    read = oip_reader(Contract(signature))
    ask = read(b'{"inputs":[{"name":"features","datatype":"FP64","shape":[2,2],"data":[5,null,6.0,1.5]}]}')
    assert ask.batch == Batch(2, "flat", [5, None, 6, 1.5])
    assert [type(value) for value in ask.batch.values] == [int, type(None), int, float]
    with pytest.raises(Invalid, match="Row 1: column 'hour' has a missing value"):
        read(b'{"inputs":[{"name":"features","datatype":"FP64","shape":[2,2],"data":[5,null,null,1.5]}]}')


def test_a_column_named_features_is_a_column():
    signature = Signature((Field("features", "float"),), "regression", "delay")
    body = b'{"inputs":[{"name":"features","datatype":"FP64","shape":[1],"data":[5]}]}'
    assert oip_reader(Contract(signature))(body).batch.layout == "columns"


@pytest.mark.parametrize(("rows", "error"), [(0, Invalid), (10_000, None), (10_001, TooLarge)])
def test_the_number_of_rows_is_limited_whichever_way_they_come(rows, error):
    signature = Signature((Field("a", "float"),), "regression", "delay")
    contract = Contract(signature)
    named = json.dumps({"rows": [{"a": 1.0}] * rows}).encode()
    unusual = json.dumps({"rows": [{"a": 10**30}] * rows}).encode()
    tensor = {"datatype": "FP64", "shape": [rows, 1], "data": [1.0] * rows}
    together = json.dumps({"inputs": [{"name": "features"} | tensor]}).encode()
    apart = json.dumps({"inputs": [{"name": "a"} | tensor]}).encode()
    for read, body in (
        (predict_reader(contract), named),
        (predict_reader(contract), unusual),
        (oip_reader(contract), together),
        (oip_reader(contract), apart),
    ):
        if error is None:
            assert read(body).batch.rows == rows
        else:
            with pytest.raises(error):
                read(body)
