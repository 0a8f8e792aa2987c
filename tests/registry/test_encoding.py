from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from undrift.core.errors import Invalid
from undrift.registry import Field, Signature, encode, encode_frame, encoder, signature_of

NULLABLE = ("f", "i", "b", "s")
floats = st.floats(-1e30, 1e30) | st.sampled_from([0.1, 1e-40, 16_777_217.0])
ints = st.integers(-(2**53), 2**53)
texts = st.sampled_from(["AA", "UA", "", "Ünited", "1", "1.0", "None", "null"])


def columns(draw, rows):
    def values(elements):
        return draw(st.lists(st.none() | elements, min_size=rows, max_size=rows))

    return {"f": values(floats), "i": values(ints), "b": values(st.booleans()), "s": values(texts)}


def frame_of(made):
    return pl.DataFrame(made, schema={"f": pl.Float64, "i": pl.Int64, "b": pl.Boolean, "s": pl.String})


@st.composite
def trained_and_asked(draw):
    return columns(draw, draw(st.integers(0, 12))), columns(draw, draw(st.integers(0, 12)))


@settings(max_examples=200)
@given(trained_and_asked(), st.booleans())
def test_requests_and_tables_become_the_same_numbers(made, ints_as_floats):
    trained, asked = made
    signature = signature_of(frame_of(trained), task="classification", output="late", nullable=NULLABLE)
    sent = dict(asked)
    if ints_as_floats:
        sent["i"] = [None if value is None else float(value) for value in asked["i"]]
    by_request, by_table = encode(signature, sent), encode_frame(signature, frame_of(asked))
    assert by_request.shape == by_table.shape == (len(asked["f"]), 4)
    assert by_request.dtype == by_table.dtype == np.float32
    np.testing.assert_array_equal(by_request, by_table)
    # What training has seen has a code of its own, what it has not is missing.
    seen = sorted({value for value in trained["s"] if value is not None})
    expected = [float(seen.index(value)) if value in seen else math.nan for value in asked["s"]]
    np.testing.assert_array_equal(by_table[:, 3], np.array(expected, dtype=np.float32))


@given(trained_and_asked(), st.sampled_from(["f", "i", "b", "s"]))
def test_a_column_without_missing_values_refuses_them_and_one_with_takes_them(made, name):
    trained, asked = made
    assume(asked["f"])
    asked[name][0] = None
    signature = signature_of(frame_of(trained), task="regression", output="late")
    nullable = {field.name: field.nullable for field in signature.inputs}
    assert nullable == {column: None in values for column, values in trained.items()}
    if any(None in asked[column] and not nullable[column] for column in asked):
        with pytest.raises(Invalid, match="has a missing value"):
            encode(signature, asked)
    else:
        assert np.isnan(encode(signature, asked)[0][[*asked].index(name)])


def test_a_signature_describes_each_column():
    frame = pl.DataFrame(
        {
            "temp": [1.0, math.nan],
            "seats": [1, None],
            "holiday": [True, False],
            "carrier": pl.Series(["UA", "AA"], dtype=pl.Categorical),
            "origin": pl.Series(["JFK", "EWR"], dtype=pl.Enum(["JFK", "EWR", "LGA"])),
            "price": pl.Series(["1.50", "2.25"]).cast(pl.Decimal(10, 2)),
        }
    )
    made = signature_of(frame, task="classification", output="late", nullable=["holiday"])
    assert made == Signature(
        (
            Field("temp", "float", True),
            Field("seats", "int", True),
            Field("holiday", "bool", True),
            Field("carrier", "string", False, ("AA", "UA")),
            Field("origin", "string", False, ("EWR", "JFK")),
            Field("price", "float", False),
        ),
        "classification",
        "late",
    )
    assert encode_frame(made, frame)[0].tolist()[1:] == [1.0, 1.0, 1.0, 1.0, 1.5]


@pytest.mark.parametrize("values", [[[1]], [{"a": 1}], [None]], ids=["list", "struct", "no type"])
def test_a_column_no_model_can_take_is_refused(values):
    with pytest.raises(Invalid, match="takes numbers, booleans and strings"):
        signature_of(pl.DataFrame({"x": values}), task="regression", output="y")


def signature(**fields):
    return Signature(tuple(fields.values()), "regression", "y")


BOTH = signature(hour=Field("hour", "int"), carrier=Field("carrier", "string", True, ("AA", "UA")))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"hour": [1]}, "missing: carrier"),
        ({"hour": [1], "carrier": ["AA"], "x": [1], "a": [1]}, "unknown: a, x"),
        ({"hour": [1], "gate": [1]}, "missing: carrier; unknown: gate"),
        ({"hour": [1, 2], "carrier": ["AA"]}, "different numbers of rows"),
        ({"hour": [None], "carrier": ["AA"]}, "'hour' has a missing value"),
        ({"hour": [math.nan], "carrier": ["AA"]}, "'hour' has a missing value"),
        ({"hour": ["one"], "carrier": ["AA"]}, "takes int values, not 'one'"),
        ({"hour": [1.5], "carrier": ["AA"]}, "takes int values, not '1.5'"),
        ({"hour": [math.inf], "carrier": ["AA"]}, "takes int values, not 'inf'"),
        ({"hour": [True], "carrier": ["AA"]}, "takes int values, not 'True'"),
        ({"hour": [1], "carrier": [7]}, "takes string values, not '7'"),
        ({"hour": [10**400], "carrier": ["AA"]}, "too large to compute with"),
    ],
)
def test_a_request_that_does_not_fit_is_told_why(columns, said):
    with pytest.raises(Invalid, match=said):
        encode(BOTH, columns)


@pytest.mark.parametrize(
    ("field", "value"),
    [(Field("x", "float"), True), (Field("x", "float"), "1"), (Field("x", "bool"), 1), (Field("x", "bool"), "true")],
)
def test_a_value_of_another_type_is_never_turned_into_a_number(field, value):
    with pytest.raises(Invalid, match=f"takes {field.type} values"):
        encoder(field)([value])


def test_a_number_beyond_single_precision_becomes_infinite_in_both():
    wide = signature(x=Field("x", "float"))
    assert encode(wide, {"x": [1e300]}).tolist() == [[math.inf]]
    assert encode_frame(wide, pl.DataFrame({"x": [1e300]})).tolist() == [[math.inf]]


def test_a_table_without_a_column_is_refused_and_other_columns_are_left_alone():
    frame = pl.DataFrame({"hour": [1], "carrier": ["AA"], "more": [1]})
    assert encode_frame(BOTH, frame).tolist() == [[1.0, 0.0]]
    with pytest.raises(Invalid, match="no column carrier"):
        encode_frame(BOTH, frame.drop("carrier"))


def test_no_rows_are_no_rows():
    assert encode(BOTH, {"hour": [], "carrier": []}).shape == (0, 2)
    assert encode_frame(BOTH, pl.DataFrame({"hour": [], "carrier": []})).shape == (0, 2)
