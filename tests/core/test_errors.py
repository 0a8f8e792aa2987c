from __future__ import annotations

import copy
import json
import pickle
import re

import pytest

from undrift.core import errors
from undrift.core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
    UndriftError,
    from_problem,
)


def tree(kind=UndriftError):
    return [
        kind,
        *(each for below in kind.__subclasses__() if below.__module__ == errors.__name__ for each in tree(below)),
    ]


@pytest.mark.parametrize("kind", tree())
def test_every_error_travels_as_problem_details_and_comes_back_as_itself(kind):
    error = kind("It broke.", next_step="Mend it.", name="late", limit=3, positions=[1, 2], nested={"a": None})
    back = from_problem(json.loads(json.dumps(error.to_problem())))
    assert type(back) is kind
    assert (back.message, back.next_step, back.details) == (error.message, error.next_step, error.details)
    assert str(back) == "It broke. Mend it."


@pytest.mark.parametrize("kind", tree())
def test_every_error_can_be_pickled_and_copied(kind):
    error = kind("It broke.", next_step="Mend it.", name="late")
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(back) is kind
        assert (back.message, back.next_step, back.details) == (error.message, error.next_step, error.details)


def test_codes_are_different_and_statuses_are_as_drawn():
    drawn = dict(re.findall(r"\* (\w+) +(\d{3}) ", errors.__doc__))
    assert {kind.__name__: str(kind.status) for kind in tree()[1:]} == drawn
    assert len({kind.code for kind in tree()}) == len(tree())
    assert all(kind.exit_code for kind in tree())


def test_problem_details_have_the_members_of_rfc_9457():
    assert NotFound("There is no model 'late'.", next_step="List them.", name="late").to_problem() == {
        "type": "urn:undrift:error:not_found",
        "title": "NotFound",
        "status": 404,
        "detail": "There is no model 'late'.",
        "code": "not_found",
        "next_step": "List them.",
        "details": {"name": "late"},
    }


def test_an_error_derived_in_a_room_is_the_same_kind_on_the_other_side():
    class Drained(Conflict):
        pass

    assert type(from_problem(Drained("Empty.").to_problem())) is Conflict


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (503, Unavailable),
        (418, UndriftError),
    ],
)
def test_a_code_unknown_here_becomes_its_nearest_kin(status, kind):
    assert type(from_problem({"code": "of_tomorrow", "status": status, "detail": "New."})) is kind


@pytest.mark.parametrize(
    "problem",
    [
        {},
        {"detail": None, "title": "Odd"},
        {"code": ["x"], "status": "404", "detail": 7, "details": "none", "next_step": None},
        {"code": "conflict", "detail": "x", "details": {"message": "m", "next_step": "n", "self": "s", "": 1}},
    ],
)
def test_odd_problem_details_become_an_error_all_the_same(problem):
    error = from_problem(problem)
    assert isinstance(error, UndriftError)
    assert str(error)


def test_without_a_next_step_the_sentence_stands_alone():
    assert str(Conflict("Taken.")) == "Taken."
