"""GraphQL as MLflow's page speaks it, and the limits of what it may ask."""

from __future__ import annotations

import contextlib
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from undrift.core.errors import Invalid, Unavailable
from undrift.hub.mlflow.graphql import MAX_TEXT, parse, select

JSON = {"content-type": "application/json"}
RUN = """query GetRun($data: MlflowGetRunInput!) @component(name: "MLflow.Runs") {
  mlflowGetRun(input: $data) {
    apiError { code message __typename }
    run {
      info { ...Info status startTime endTime }
      experiment { name experimentId tags { key value } }
      modelVersions { name version status source }
      data { metrics { key value step timestamp } params { key value } tags { key value } }
      inputs { datasetInputs { dataset { name digest } tags { key value } } modelInputs { modelId } }
      outputs { modelOutputs { modelId step } }
    }
  }
}
fragment Info on MlflowRunInfo { name: runName runUuid }"""


@pytest.fixture
def ask(http):
    def post(query, variables=None, name=None):
        body = json.dumps({"query": query, "variables": variables, "operationName": name})
        answer = http.post("/graphql", content=body, headers=JSON)
        assert answer.status_code == 200
        return answer.json()

    return post


@pytest.fixture
def run_id(http):
    def post(path, body):
        answer = http.post(f"/api/2.0/mlflow/{path}", content=json.dumps(body), headers=JSON)
        assert answer.status_code == 200, answer.text
        return answer.json()

    made = post("runs/create", {"experiment_id": "0", "run_name": "first", "start_time": 5})["run"]["info"]["run_id"]
    points = [{"key": "a", "value": 1.5, "timestamp": 7, "step": 3}, {"key": "b", "value": "NaN", "timestamp": 7}]
    post("runs/log-batch", {"run_id": made, "metrics": points, "params": [{"key": "p", "value": "1"}]})
    post("runs/outputs", {"run_id": made, "models": [{"model_id": "m-1", "step": 2}]})
    return made


def test_the_query_of_the_run_page(ask, run_id):
    answer = ask(RUN, {"data": {"runId": run_id}}, "GetRun")
    assert answer["errors"] is None
    found = answer["data"]["mlflowGetRun"]
    run = found["run"]
    assert found["apiError"] is None
    assert run["info"] == {
        "name": "first",
        "runUuid": run_id,
        "status": "RUNNING",
        "startTime": "5",
        "endTime": None,
    }
    assert run["experiment"] == {"name": "Default", "experimentId": "0", "tags": []}
    assert run["data"]["metrics"] == [
        {"key": "a", "value": 1.5, "step": "3", "timestamp": "7"},
        {"key": "b", "value": None, "step": "0", "timestamp": "7"},
    ]
    assert run["inputs"] == {"datasetInputs": [], "modelInputs": []}
    assert run["outputs"] == {"modelOutputs": [{"modelId": "m-1", "step": "2"}]}
    assert run["modelVersions"] == []


def test_what_is_not_there_is_an_error_of_the_answer(ask):
    answer = ask('{ mlflowGetRun(input: {runId: "x"}) { apiError { code message } run { info { runId } } } }')
    assert answer["data"]["mlflowGetRun"]["run"] is None
    assert answer["data"]["mlflowGetRun"]["apiError"]["code"] == "RESOURCE_DOES_NOT_EXIST"
    answer = ask("{ mlflowGetExperiment { apiError { message } } }")
    assert "Missing value for required parameter 'experiment_id'" in json.dumps(answer["data"])


def test_what_the_hub_is_to_blame_for_is_a_fault_and_shows_no_place(http, workspace, monkeypatch):
    def away(ctx, asked):
        raise Unavailable(f"{workspace.folder}/undrift.db is locked.")

    monkeypatch.setattr("undrift.hub.mlflow.runs.find_run", away)
    body = {"query": '{ mlflowGetRun(input: {runId: "x"}) { apiError { code } } }'}
    answer = http.post("/graphql", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert answer.headers["retry-after"]
    assert str(workspace.folder) not in answer.text


def test_the_other_queries_of_the_schema(ask, run_id):
    answer = ask(
        """query ($ids: [String], $run: String = "none", $no: Boolean!) {
          mlflowSearchRuns(input: {experimentIds: $ids, filter: "metrics.a > 1"}) { runs { info { runId } } }
          mlflowGetMetricHistoryBulkInterval(input: {runIds: [$run], metricKey: "a"}) { metrics { step value runId } }
          mlflowSearchModelVersions(input: {}) { modelVersions { name } }
          mlflowGetExperiment(input: {experimentId: "0"}) @skip(if: $no) { experiment { name } }
          __typename
        }""",
        {"ids": ["0"], "run": run_id, "no": True},
    )
    assert answer == {
        "data": {
            "mlflowSearchRuns": {"runs": [{"info": {"runId": run_id}}]},
            "mlflowGetMetricHistoryBulkInterval": {"metrics": [{"step": "3", "value": 1.5, "runId": run_id}]},
            "mlflowSearchModelVersions": {"modelVersions": []},
            "__typename": "Query",
        },
        "errors": None,
    }


BOMB = "".join(f"fragment F{place} on T {{ ...F{place + 1} ...F{place + 1} }} " for place in range(9))
DEEP = "{ a" * 60 + "}" * 60


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (None, "Must provide query string"),
        ("", "which operation"),
        ("{", "Syntax Error"),
        ("{}", "nothing is selected"),
        ("{ a % }", "unexpected character"),
        ("subscription { a }", "neither a query nor a mutation"),
        ("{ nothing }", "Cannot query field 'nothing'"),
        ("{ __schema { types { name } } }", "Cannot query field '__schema'"),
        ("{ mlflowGetRun { secret } }", "Cannot query field 'secret' on type 'GetRun'"),
        ("{ mlflowGetRun { run } }", "needs a selection"),
        ("{ mlflowGetRun { apiError { code { a } } } }", "has no fields"),
        ("query A { __typename } query B { __typename }", "which operation"),
        ("{ ...F } fragment F on T { ...F }", "contains itself"),
        ("{ ...G }", "is unknown"),
        ("{ ...F0 } " + BOMB + "fragment F9 on T { __typename }", "at most"),
        (DEEP, "nested more than"),
        ("{ a { a { a { a { a { a { a { a { a { a { a } } } } } } } } } } }", "at most 10 levels deep"),
        ("{" + " ".join(f"a{place}: __typename" for place in range(11)) + "}", "at most 10 aliases"),
        ("{" + " ".join(f"a{place}" for place in range(11)) + "}", "at most 10 root fields"),
        ("{" + "__typename " * 1001 + "}", "at most 1000 fields"),
        (
            "{ a: mlflowGetRun { run { info { runId } } } a: mlflowSearchRuns { nextPageToken } }",
            "two different fields",
        ),
        ("{ a(b: " + "[" * 60 + "]" * 60 + ") }", "nested more than"),
        (" " * (MAX_TEXT + 1), "characters"),
        ('{ a(b: "\\ud800") }', ""),
    ],
)
def test_what_cannot_be_answered_is_said_in_errors(ask, query, said):
    answer = ask(query)
    assert answer["data"] is None
    assert said.lower() in answer["errors"][0].lower()


@hypothesis.given(st.text(alphabet='{}()[]:!$@.,"\\ #abn1-e\n', max_size=60))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(Invalid):
        select(parse(text), "", {})
