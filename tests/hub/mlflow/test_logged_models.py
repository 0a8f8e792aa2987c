"""Logged models in MLflow's words: what stays as it was logged, and pages of a search."""

from __future__ import annotations

import pytest

API = "/api/2.0/mlflow/logged-models"


@pytest.fixture
def ask(http):
    """Ask under an address below ``logged-models``; returns status and answer."""

    def asked(method, path="", body=None):
        answer = http.request(method, API + path, json=body or {})
        return answer.status_code, answer.json()

    return asked


@pytest.fixture
def make(ask):
    """Make a logged model; returns its id."""

    def made(name, **given):
        status, answer = ask("POST", "", {"experiment_id": "0", "name": name, **given})
        assert status == 200, answer
        return answer["model"]["info"]["model_id"]

    return made


def refused(answer, text):
    assert (answer[0], answer[1].get("error_code")) == (400, "INVALID_PARAMETER_VALUE"), answer
    assert text in answer[1]["message"]


def test_a_parameter_is_written_once(ask, make):
    model_id = make("tree", params=[{"key": "depth", "value": "3"}])
    same_and_new = [{"key": "depth", "value": "3"}, {"key": "leaves", "value": "8"}]
    assert ask("POST", f"/{model_id}/params", {"params": same_and_new}) == (200, {})
    other = [{"key": "seed", "value": "1"}, {"key": "depth", "value": "4"}]
    refused(ask("POST", f"/{model_id}/params", {"params": other}), "Changing param values is not allowed")
    kept = ask("GET", f"/{model_id}")[1]["model"]["data"]["params"]
    assert {one["key"]: one["value"] for one in kept} == {"depth": "3", "leaves": "8"}


def test_pages_follow_each_other_and_miss_none(ask, make):
    ids = [make(name) for name in ("a", "b", "c")]
    search = {"experiment_ids": ["0"], "order_by": [{"field_name": "name"}], "max_results": 1}
    found, token = [], None
    while token != "":
        status, page = ask("POST", "/search", search | ({"page_token": token} if token else {}))
        assert status == 200, page
        found += [one["info"]["model_id"] for one in page["models"]]
        token = page.get("next_page_token", "")
    assert found == ids


@pytest.mark.parametrize(
    "other",
    [
        {"experiment_ids": ["0", "1"]},
        {"filter": "name != 'x'"},
        {"order_by": [{"field_name": "name"}]},
        {"order_by": [{"field_name": "creation_time", "ascending": False}]},
        {"datasets": [{"dataset_name": "d"}]},
    ],
)
def test_a_page_token_is_refused_for_another_search(ask, make, other):
    make("a")
    make("b")
    search = {"experiment_ids": ["0"], "max_results": 1, "order_by": [{"field_name": "creation_time"}]}
    token = ask("POST", "/search", search)[1]["next_page_token"]
    refused(ask("POST", "/search", search | other | {"page_token": token}), "Invalid page token")
    # How many are asked for may change from page to page.
    status, page = ask("POST", "/search", search | {"max_results": 5, "page_token": token})
    assert (status, [one["info"]["name"] for one in page["models"]]) == (200, ["b"])


@pytest.mark.parametrize("token", ["junk", "eyJvZmZzZXQiOjF9", ".", "eyJvZmZzZXQiOjF9.0123456789abcdef"])
def test_a_page_token_that_was_made_up_is_refused(ask, token):
    refused(ask("POST", "/search", {"experiment_ids": ["0"], "page_token": token}), "Invalid page token")


def test_fewer_than_no_results_are_refused(ask):
    refused(ask("POST", "/search", {"experiment_ids": ["0"], "max_results": -1}), "for parameter 'max_results'")
