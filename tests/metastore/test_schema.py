from __future__ import annotations

import math

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from undrift.core.clock import in_utc
from undrift.core.errors import TooLarge
from undrift.metastore import Json, UtcTime, like, metadata
from undrift.testing.patterns import matches

kept = sa.Table(
    "kept",
    sa.MetaData(),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcTime),
    sa.Column("data", Json),
    sa.Column("text", sa.Text),
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


@pytest.fixture
def kept_like(database):
    """Write texts, find those that are like a pattern."""
    with database.begin() as tx:
        kept.create(tx, checkfirst=True)

    class Kept:
        def __init__(self):
            self.database = database

        def write(self, texts):
            with database.begin() as tx:
                tx.execute(sa.delete(kept))
                tx.execute(sa.insert(kept), [{"n": n, "text": text} for n, text in enumerate(texts)])

        def find(self, pattern, *, case_sensitive):
            with database.read() as tx:
                condition = like(tx, kept.c.text, pattern, case_sensitive=case_sensitive)
                return list(tx.scalars(sa.select(kept.c.text).where(condition).order_by(kept.c.n)))

    yield Kept()
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


# Letters whose cases are not what one expects, signs that mean something to an engine, and anything else.
tricky = st.sampled_from("%_kK\u212a\u0131iIİßẞ\u017fsS\u03c3ςΣåÅ\u212bǅǆǄ*?[]^-\\\\'\"äÄ")
plain = st.text(tricky | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


@st.composite
def patterns(draw):
    """A text, and a pattern made of it, so that many match: other case, and signs that stand for something."""
    text = draw(plain)
    change = st.sampled_from([str, str.upper, str.lower, str.swapcase, lambda _: "_", lambda _: "%", lambda _: ""])
    return text, "".join(draw(change)(sign) for sign in text)


@pytest.mark.parametrize("case_sensitive", [True, False])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(patterns(), min_size=1, max_size=12))
def test_a_text_is_like_a_pattern_on_every_engine_when_the_filters_say_so(kept_like, case_sensitive, made):
    texts = [text for text, _ in made] + [pattern for _, pattern in made]
    kept_like.write(texts)
    for _, pattern in made:
        found = kept_like.find(pattern, case_sensitive=case_sensitive)
        assert found == [text for text in texts if matches(text, pattern, case_sensitive=case_sensitive)], pattern


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("ÄPFEL%", ["Äpfel", "äpfel"]),
        ("kelvin", ["Kelvin", "\u212aelvin"]),
        ("stra_e", ["Straße", "STRAẞE"]),
        ("straße", ["Straße", "STRAẞE"]),
        ("i", ["I"]),
        ("İ", ["İ"]),
        ("100%", ["100%", "1001"]),
        ("[a]*", ["[A]*"]),
    ],
)
def test_without_case_letters_of_every_script_are_alike(kept_like, pattern, found):
    kept_like.write(
        [
            "Äpfel",
            "äpfel",
            "Kelvin",
            "\u212aelvin",
            "Straße",
            "STRAẞE",
            "Strasse",
            "I",
            "\u0131",
            "İ",
            "100%",
            "1001",
            "[A]*",
        ]
    )
    assert kept_like.find(pattern, case_sensitive=False) == found


def test_a_pattern_longer_than_an_engine_takes_is_refused_and_no_failure(kept_like):
    kept_like.write(["x" * 20_000])
    if kept_like.database.url.drivername.startswith("sqlite"):
        with pytest.raises(TooLarge, match="20,000 characters"):
            kept_like.find("X" * 20_000, case_sensitive=False)
    else:
        assert len(kept_like.find("X" * 20_000, case_sensitive=False)) == 1
    assert len(kept_like.find("x" * 20_000, case_sensitive=True)) == 1


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
