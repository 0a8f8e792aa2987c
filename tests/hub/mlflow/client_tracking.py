"""Drives all that MLflow's own client can ask of tracking; to be run as ``client_tracking.py URL``."""

from __future__ import annotations

import math
import sys
import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

URL = sys.argv[1]
client = MlflowClient(URL, URL)


def refused(code, text, call, *given, **named):
    """The call is refused with this code, and a message that has this text."""
    found = None
    try:
        call(*given, **named)
    except MlflowException as error:
        found = error
    assert found is not None, f"{call} was not refused"
    assert found.error_code == code, (found.error_code, found.message)
    assert text in found.message, found.message


def experiments():
    default = client.get_experiment("0")
    assert (default.name, default.lifecycle_stage) == ("Default", "active")
    assert client.get_experiment_by_name("Default").experiment_id == default.experiment_id
    made = client.create_experiment("delays", tags={"team": "rail", "empty": ""})
    assert isinstance(made, str)
    refused("RESOURCE_ALREADY_EXISTS", "already exists", client.create_experiment, "delays")
    refused("INVALID_PARAMETER_VALUE", "artifact_location", client.create_experiment, "x", artifact_location="s3://x/y")
    found = client.get_experiment(made)
    assert found.artifact_location == f"mlflow-artifacts:/{made}"
    assert found.tags == {"team": "rail", "empty": ""}
    client.set_experiment_tag(made, "team", "road")
    client.delete_experiment_tag(made, "empty")
    refused("RESOURCE_DOES_NOT_EXIST", "No tag with name", client.delete_experiment_tag, made, "empty")
    assert client.get_experiment(made).tags == {"team": "road"}
    client.rename_experiment(made, "late")
    assert client.get_experiment_by_name("delays") is None
    refused("BAD_REQUEST", "already exists", client.rename_experiment, made, "Default")
    assert [one.name for one in client.search_experiments(filter_string="name LIKE 'la%'")] == ["late"]
    assert [one.name for one in client.search_experiments(filter_string="tags.team = 'road'")] == ["late"]
    assert [one.name for one in client.search_experiments(order_by=["name ASC"])] == ["Default", "late"]
    page = client.search_experiments(max_results=1, order_by=["name ASC"])
    assert page.token
    assert client.search_experiments(max_results=1, order_by=["name ASC"], page_token=page.token)[0].name == "late"
    client.delete_experiment(made)
    refused("RESOURCE_DOES_NOT_EXIST", "", client.delete_experiment, made)
    refused("INVALID_STATE", "non-active", client.rename_experiment, made, "y")
    refused("INVALID_PARAMETER_VALUE", "must be in the 'active' state", client.create_run, made)
    assert client.get_experiment(made).lifecycle_stage == "deleted"
    assert [one.name for one in client.search_experiments(view_type=ViewType.DELETED_ONLY)] == ["late"]
    assert len(client.search_experiments(view_type=ViewType.ALL)) == 2
    client.restore_experiment(made)
    refused("RESOURCE_DOES_NOT_EXIST", "No Experiment with id=4711 exists", client.get_experiment, "4711")
    refused("INVALID_PARAMETER_VALUE", "Invalid experiment ID", client.get_experiment, "abc")
    return made


def runs(experiment):
    run = client.create_run(
        experiment, start_time=1_700_000_000_123, tags={"a": "b", "mlflow.user": "ada"}, run_name="first"
    )
    info = run.info
    assert (info.run_name, info.status, info.start_time) == ("first", "RUNNING", 1_700_000_000_123)
    assert (info.experiment_id, info.end_time, info.lifecycle_stage) == (experiment, None, "active")
    assert info.artifact_uri == f"mlflow-artifacts:/{experiment}/{info.run_id}/artifacts"
    assert run.data.tags == {"a": "b", "mlflow.user": "ada", "mlflow.runName": "first"}
    assert client.create_run(experiment).info.run_name
    run_id = info.run_id
    client.log_param(run_id, "depth", 3)
    client.log_param(run_id, "depth", 3)
    refused(
        "INVALID_PARAMETER_VALUE",
        f"Changing param values is not allowed. Param with key='depth' was already logged with value='3' for run "
        f"ID='{run_id}'. Attempted logging new value '4'.",
        client.log_param,
        run_id,
        "depth",
        4,
    )
    client.log_param(run_id, "long", "x" * 7000)
    client.set_tag(run_id, "a", "c")
    client.set_tag(run_id, "long", "y" * 9000)
    client.set_tag(run_id, "mlflow.runName", "renamed")
    client.delete_tag(run_id, "long")
    refused(
        "RESOURCE_DOES_NOT_EXIST", f"No tag with name: long in run with id {run_id}", client.delete_tag, run_id, "long"
    )
    for step, value in ((0, 0.5), (2, 0.25), (1, 0.75), (2, 0.25)):
        client.log_metric(run_id, "loss", value, timestamp=1_700_000_000_000 + step, step=step)
    client.log_metric(run_id, "odd", math.nan, timestamp=5, step=-3)
    client.log_metric(run_id, "big", math.inf, timestamp=5)
    refused("INVALID_PARAMETER_VALUE", "Names may only contain", client.log_metric, run_id, "a?b", 1.0)
    refused("INVALID_PARAMETER_VALUE", "Names may be treated as files", client.log_metric, run_id, "a//b", 1.0)
    refused("INVALID_PARAMETER_VALUE", "exceeds the maximum length of 250", client.log_metric, run_id, "a" * 251, 1.0)
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        [Metric("acc", step / 100, now + step, step) for step in range(100)],
        [Param("p1", "1"), Param("p2", 'ü\\n"x"')],
        [RunTag("t1", "1"), RunTag("mlflow.note.content", "words")],
    )
    refused(
        "INVALID_PARAMETER_VALUE",
        "Params were already logged='[{'key': 'p1', 'old_value': '1', 'new_value': '2'}]'",
        client.log_batch,
        run_id,
        params=[Param("p1", "2")],
    )
    refused(
        "INVALID_PARAMETER_VALUE", "Duplicate parameter keys", client.log_batch, run_id, params=[Param("z", "2")] * 2
    )
    found = client.get_run(run_id)
    assert found.info.run_name == "renamed"
    data = found.data
    assert data.params == {"depth": "3", "long": "x" * 6000, "p1": "1", "p2": 'ü\\n"x"'}
    assert data.tags["a"] == "c"
    assert data.tags["mlflow.runName"] == "renamed"
    assert "long" not in data.tags
    assert {key: value for key, value in data.metrics.items() if key in ("loss", "acc")} == {"loss": 0.25, "acc": 0.99}
    assert math.isnan(data.metrics["odd"])
    history = client.get_metric_history(run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(0, 0.5), (1, 0.75), (2, 0.25)]
    assert client.get_metric_history(run_id, "nothing") == []
    ended = client.update_run(run_id, status="FINISHED", name="again")
    assert ended is None
    client.set_terminated(run_id, "FAILED", end_time=1_700_000_009_000)
    found = client.get_run(run_id).info
    assert (found.status, found.end_time, found.run_name) == ("FAILED", 1_700_000_009_000, "again")
    client.log_metric(run_id, "late", 1)
    parent = client.create_run(experiment, tags={"mlflow.parentRunId": run_id})
    assert parent.data.tags["mlflow.parentRunId"] == run_id
    client.delete_run(run_id)
    client.delete_run(run_id)
    refused(
        "INVALID_PARAMETER_VALUE",
        "must be in the 'active' state. Current state is deleted",
        client.log_metric,
        run_id,
        "x",
        1,
    )
    refused("INVALID_PARAMETER_VALUE", "must be in the 'active' state", client.set_tag, run_id, "mlflow.runName", "x")
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    assert run_id in [one.info.run_id for one in client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)]
    client.restore_run(run_id)
    refused("RESOURCE_DOES_NOT_EXIST", "not found", client.get_run, "0" * 32)
    refused("RESOURCE_DOES_NOT_EXIST", "not found", client.log_metric, "0" * 32, "x", 1)
    return run_id


def inputs(experiment, run_id):
    dataset = Dataset("departures", "d1", "local", "{}", schema="{}", profile='{"rows": 3}')
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    model = client.create_logged_model(experiment, "tree", run_id, {"team": "rail"}, {"depth": "3"}, "classifier")
    assert model.model_id.startswith("m-")
    assert model.status == LoggedModelStatus.PENDING
    assert model.artifact_location == f"mlflow-artifacts:/{experiment}/models/{model.model_id}/artifacts"
    client.log_inputs(run_id, models=[LoggedModelInput(model.model_id)])
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 7)])
    client.log_metric(
        run_id, "auc", 0.9, step=1, model_id=model.model_id, dataset_name="departures", dataset_digest="d1"
    )
    client.set_logged_model_tags(model.model_id, {"stage": "dev"})
    client.delete_logged_model_tag(model.model_id, "stage")
    refused("RESOURCE_DOES_NOT_EXIST", "", client.delete_logged_model_tag, model.model_id, "stage")
    client.log_model_params(model.model_id, {"rate": "0.1"})
    ready = client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    assert ready.status == LoggedModelStatus.READY
    found = client.get_logged_model(model.model_id)
    assert (found.name, found.model_type, found.source_run_id) == ("tree", "classifier", run_id)
    assert (found.params, found.tags) == ({"depth": "3", "rate": "0.1"}, {"team": "rail"})
    assert [(one.key, one.value, one.dataset_name, one.run_id) for one in found.metrics] == [
        ("auc", 0.9, "departures", run_id)
    ]
    run = client.get_run(run_id)
    (use,) = run.inputs.dataset_inputs
    assert (use.dataset.name, use.dataset.profile) == ("departures", '{"rows": 3}')
    assert [(tag.key, tag.value) for tag in use.tags] == [("mlflow.data.context", "training")]
    assert [one.model_id for one in run.inputs.model_inputs] == [model.model_id]
    assert [(one.model_id, one.step) for one in run.outputs.model_outputs] == [(model.model_id, 7)]
    other = client.create_logged_model(experiment)
    assert other.name
    for text in ("name = 'tree'", "metrics.auc > 0.5", "params.depth = '3'", "tags.team = 'rail'"):
        assert [one.model_id for one in client.search_logged_models([experiment], text)] == [model.model_id], text
    ordered = client.search_logged_models([experiment], order_by=[{"field_name": "metrics.auc", "ascending": False}])
    assert [one.model_id for one in ordered] == [model.model_id, other.model_id]
    client.delete_logged_model(other.model_id)
    refused("RESOURCE_DOES_NOT_EXIST", "not found", client.get_logged_model, other.model_id)
    refused("INVALID_PARAMETER_VALUE", "", client.create_logged_model, experiment, "a/b")
    assert [one.info.run_id for one in client.search_runs([experiment], "datasets.name = 'departures'")] == [run_id]


def fluent():
    mlflow.set_tracking_uri(URL)
    mlflow.set_experiment("fluent")
    with mlflow.start_run(run_name="outer") as outer:
        mlflow.log_params({f"p{place}": place for place in range(150)})
        mlflow.log_metrics({"a": 1.0, "b": math.nan}, step=3)
        for step in range(20):
            mlflow.log_metric("curve", step * 0.5, step=step)
        mlflow.set_tags({"x": "1", "y": "2"})
        with mlflow.start_run(nested=True) as inner:
            mlflow.log_metric("inside", 1)
    run = mlflow.get_run(outer.info.run_id)
    assert (run.info.status, len(run.data.params), run.data.metrics["curve"]) == ("FINISHED", 150, 9.5)
    assert mlflow.get_run(inner.info.run_id).data.tags["mlflow.parentRunId"] == outer.info.run_id
    frame = mlflow.search_runs(
        experiment_names=["fluent"], filter_string="metrics.curve > 9", order_by=["metrics.a DESC"]
    )
    assert list(frame["run_id"]) == [outer.info.run_id]
    try:
        with mlflow.start_run() as failed:
            1 / 0  # noqa: B018 - on purpose
    except ZeroDivisionError:
        pass
    assert mlflow.get_run(failed.info.run_id).info.status == "FAILED"
    assert mlflow.last_active_run().info.run_id == failed.info.run_id
    mlflow.log_metric("implicit", 1, run_id=outer.info.run_id)
    assert mlflow.MlflowClient().get_run(outer.info.run_id).data.metrics["implicit"] == 1


def service():
    assert http_request(get_default_host_creds(URL), "/version", "GET").text.startswith("3.0")
    refused("NOT_IMPLEMENTED", "does not support", client.search_traces, experiment_ids=["0"])


made = experiments()
run = runs(made)
inputs(made, run)
fluent()
service()
sys.stdout.write("done\n")
