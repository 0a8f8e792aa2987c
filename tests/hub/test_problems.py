"""What a problem shows, and what it keeps to itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from undrift.core.errors import Conflict, Unavailable, from_problem
from undrift.hub.problems import WrongMediaType, WrongMethod, hidden_names, to_problem

FOLDER = Path("/srv/flights/.undrift")


def hidden(url, store=""):
    database = SimpleNamespace(url=sa.make_url(url))
    return hidden_names(SimpleNamespace(database=database, folder=FOLDER, settings=SimpleNamespace(store=store)))


@pytest.mark.parametrize(
    ("url", "store", "said", "shown"),
    [
        (
            "sqlite:////srv/flights/.undrift/undrift.db",
            "",
            "sqlite:////srv/flights/.undrift/undrift.db",
            "the database",
        ),
        ("sqlite:////srv/flights/.undrift/undrift.db", "", "/srv/flights/.undrift/undrift.db", "the database"),
        ("sqlite:////srv/flights/.undrift/undrift.db", "", "/srv/flights/.undrift/store", "the workspace/store"),
        ("postgresql://ada:secret@db:5432/late", "", "postgresql://ada:***@db:5432/late", "the database"),
        ("postgresql://ada:secret@db:5432/late", "s3://bucket/x", "s3://bucket/x/ab", "the store/ab"),
        ("postgresql://ada:secret@db:5432/late", "", "model 'late'", "model 'late'"),
    ],
)
def test_a_problem_does_not_say_where_things_live(url, store, said, shown):
    problem = to_problem(Unavailable(f"{said} is away.", where=[said]), trace_id="t", hidden=hidden(url, store))
    assert problem.details["detail"] == f"{shown} is away."
    assert problem.details["details"] == {"where": [shown]}


@pytest.mark.parametrize("error", [Conflict("Taken.", name="late"), WrongMethod("No."), WrongMediaType("No.")])
def test_a_problem_becomes_the_same_kind_of_exception_on_the_other_side(error):
    again = from_problem(to_problem(error, trace_id="t").details)
    assert isinstance(error, type(again))
    assert (again.message, again.details) == (error.message, error.details)


def test_a_problem_repeats_a_long_value_only_in_part():
    said = to_problem(Conflict(f"{'x' * 40_000} is there.", next_step="Choose another."), trace_id="t").details
    assert len(said["detail"]) < 3_000
    assert said["next_step"] == "Choose another."
