from __future__ import annotations

import math

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from undrift.core.clock import in_utc
from undrift.metastore import Json, UtcTime, metadata

kept = sa.Table(
    "kept",
    sa.MetaData(),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcTime),
    sa.Column("data", Json),
)

times = st.datetimes(timezones=st.timezones(), allow_imaginary=False).filter(lambda at: 1 < at.year < 9999)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def kept_in(database):
    """Write rows, read them back."""
    with database.begin() as tx:
        kept.create(tx, checkfirst=True)

    def through(column, items):
        rows = [{"n": n, column.name: item} for n, item in enumerate(items)]
        with database.begin() as tx:
            tx.execute(sa.delete(kept))
            tx.execute(sa.insert(kept), rows)
        with database.read() as tx:
            return list(tx.scalars(sa.select(column).order_by(kept.c.n)))

    yield through
    with database.begin() as tx:
        kept.drop(tx)


with_database = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@with_database
@given(moments=st.lists(times, min_size=1))
def test_times_come_back_as_the_same_moments(kept_in, moments):
    assert kept_in(kept.c.at, moments) == [in_utc(moment) for moment in moments]


@with_database
@given(items=st.lists(values, min_size=1))
def test_json_values_come_back_as_they_were(kept_in, items):
    assert kept_in(kept.c.data, items) == items


@given(values)
def test_equal_values_are_kept_as_equal_text(value):
    text = Json().process_bind_param(value, None)
    again = Json().process_bind_param(Json().process_result_value(text, None), None)
    assert again == text


def test_a_struct_is_kept_as_its_fields():
    class Point(msgspec.Struct):
        y: int
        x: float

    assert Json().process_bind_param(Point(1, 2.0), None) == '{"x":2.0,"y":1}'


def test_what_json_cannot_say_is_kept_as_null():
    assert Json().process_bind_param([math.nan, math.inf], None) == "[null,null]"


def test_every_constraint_has_a_name_so_that_a_migration_can_change_it():
    nameless = [
        f"{table.name}: {type(constraint).__name__}"
        for table in metadata.tables.values()
        for constraint in table.constraints
        if constraint.name is None
    ]
    assert nameless == []
