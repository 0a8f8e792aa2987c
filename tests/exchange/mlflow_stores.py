"""Fills a store of MLflow with one of everything, and writes down what MLflow itself says of it.

Run as ``python mlflow_stores.py URI ANSWERS.json``; the tests import what MLflow wrote and compare.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import mlflow  # noqa: E402
from mlflow.entities import Metric, ViewType  # noqa: E402


def fill(uri):
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    client = mlflow.MlflowClient()
    mlflow.set_experiment("späte Flüge")
    client.set_experiment_tag(mlflow.get_experiment_by_name("späte Flüge").experiment_id, "team", "ops")
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0], "y": [0, 0, 1, 1]})
    data = mlflow.data.from_pandas(frame, source="s3://bucket/frame.csv", name="frame", targets="y")
    with mlflow.start_run(run_name="parent") as parent:
        mlflow.log_params({"seed": 7, "opt/name": "adam", "note": "Größe ½"})
        mlflow.set_tags({"team": "ops", "a.b": "c d"})
        mlflow.log_input(data, context="training", tags={"split": "2013"})
        for step in range(5):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        mlflow.log_metric("val/odd", float("nan"), step=-3)
        mlflow.log_metric("val/odd", 2.5, step=0)
        mlflow.log_metric("top", float("inf"), step=1)
        mlflow.log_metric("top", float("-inf"), step=2)
        model = LogisticRegression().fit(frame[["a", "b"]], frame["y"])
        info = mlflow.sklearn.log_model(
            model,
            name="late",
            input_example=frame[["a", "b"]].head(1),
            params={"C": 1.0},
            tags={"kind": "linear"},
            pip_requirements=["scikit-learn"],
            registered_model_name="late model",
            serialization_format="pickle",
        )
        mlflow.log_metric("auc", 0.9, step=3, model_id=info.model_id, dataset=data)
        mlflow.log_metric("auc", float("nan"), step=4, model_id=info.model_id, dataset=data)
        mlflow.log_text("hello", "notes/readme.txt")
        mlflow.log_dict({"a": [1, 2]}, "config.json")
        with tempfile.TemporaryDirectory() as folder:
            big = Path(folder) / "big.bin"
            big.write_bytes(np.arange(400_000, dtype="<i4").tobytes())
            mlflow.log_artifact(str(big), "data")
        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_metric("loss", 0.25)
    points = [Metric("dense", float(i % 97) / 7, 1_700_000_000_000 + i, i) for i in range(3000)]
    for begin in range(0, 3000, 1000):
        client.log_batch(child.info.run_id, metrics=points[begin : begin + 1000])
    with mlflow.start_run(run_name="failed") as failed:
        mlflow.log_param("x", "1")
    client.set_terminated(failed.info.run_id, "FAILED")
    with mlflow.start_run(run_name="reader") as reader:
        mlflow.log_metric("late/latency", 3.0)
    client.log_inputs(reader.info.run_id, models=[mlflow.entities.LoggedModelInput(info.model_id)])
    running = client.create_run(parent.info.experiment_id, run_name="running")
    client.log_param(running.info.run_id, "p", "v")
    gone = client.create_run(parent.info.experiment_id, run_name="gone", tags={"t": "gone"})
    client.log_metric(gone.info.run_id, "loss", 9.0)
    client.delete_run(gone.info.run_id)
    other = client.create_experiment("Papierkorb", tags={"old": "yes"})
    lost = client.create_run(other, run_name="in the bin")
    client.log_param(lost.info.run_id, "k", "v")
    client.delete_experiment(other)

    for _ in range(2):
        client.create_model_version(
            "late model", info.model_uri, parent.info.run_id, tags={"tried": "yes"}, model_id=info.model_id
        )
    client.delete_model_version("late model", "2")
    client.update_registered_model("late model", "Says whether a flight is late.")
    client.set_registered_model_tag("late model", "owner", "ada")
    client.update_model_version("late model", "3", "The third.")
    client.set_registered_model_alias("late model", "champion", "3")
    client.set_registered_model_alias("late model", "first", "1")
    client.transition_model_version_stage("late model", "1", "Staging")
    client.create_registered_model("empty")
    client.create_model_version(
        "late model", f"{parent.info.artifact_uri}/notes", parent.info.run_id, description="Not a model."
    )
    client.delete_model_version("late model", "4")
    return parent.info.run_id


def said(uri):
    client = mlflow.MlflowClient()
    answer = {"experiments": {}, "runs": {}, "models": {}, "registered": {}}
    for experiment in client.search_experiments(view_type=ViewType.ALL):
        answer["experiments"][experiment.experiment_id] = {
            "name": experiment.name,
            "state": experiment.lifecycle_stage,
            "created": experiment.creation_time,
            "updated": experiment.last_update_time,
            "tags": experiment.tags,
        }
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            # The search leaves inputs and outputs out.
            answer["runs"][run.info.run_id] = run_said(client, client.get_run(run.info.run_id))
        if experiment.lifecycle_stage == "active":
            for model in client.search_logged_models([experiment.experiment_id]):
                answer["models"][model.model_id] = {
                    "name": model.name,
                    "experiment": model.experiment_id,
                    "created": model.creation_timestamp,
                    "updated": model.last_updated_timestamp,
                    "run": model.source_run_id,
                    "status": model.status.value,
                    "params": model.params,
                    "tags": model.tags,
                    "metrics": sorted(
                        [m.key, m.step, m.timestamp, repr(m.value), m.run_id, m.dataset_name, m.dataset_digest]
                        for m in model.metrics or []
                    ),
                    "files": files_said(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}")),
                }
    for model in client.search_registered_models():
        versions = {}
        for version in client.search_model_versions(f"name='{model.name}'"):
            versions[int(version.version)] = {
                "created": version.creation_timestamp,
                "updated": version.last_updated_timestamp,
                "source": version.source,
                "run": version.run_id,
                "stage": version.current_stage,
                "description": version.description or "",
                "tags": version.tags,
            }
        answer["registered"][model.name] = {
            "created": model.creation_timestamp,
            "updated": model.last_updated_timestamp,
            "description": model.description or "",
            "tags": model.tags,
            "aliases": {
                alias: int(number) for alias, number in client.get_registered_model(model.name).aliases.items()
            },
            "versions": versions,
        }
    return answer


def run_said(client, run):
    info = run.info
    return {
        "experiment": info.experiment_id,
        "name": info.run_name,
        "status": info.status,
        "state": info.lifecycle_stage,
        "start": info.start_time,
        "end": info.end_time,
        "user": info.user_id,
        "params": run.data.params,
        "tags": run.data.tags,
        "latest": {name: repr(value) for name, value in run.data.metrics.items()},
        "histories": {
            name: sorted([p.timestamp, p.step, repr(p.value)] for p in client.get_metric_history(info.run_id, name))
            for name in run.data.metrics
        },
        "datasets": sorted(
            [
                [
                    *(getattr(d.dataset, field) for field in ("name", "digest", "source_type", "source", "schema")),
                    d.dataset.profile,
                    sorted([t.key, t.value] for t in d.tags),
                ]
                for d in run.inputs.dataset_inputs
            ]
        ),
        "inputs": [m.model_id for m in run.inputs.model_inputs or []],
        "outputs": [[m.model_id, m.step] for m in (run.outputs.model_outputs if run.outputs else [])],
        "files": files_said(mlflow.artifacts.download_artifacts(run_id=info.run_id, artifact_path=""))
        if info.lifecycle_stage == "active" and client.list_artifacts(info.run_id)
        else {},
    }


def files_said(folder):
    top = Path(folder)
    return {
        str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(top.rglob("*"))
        # The client writes that one while it downloads.
        if path.is_file() and path.name != "registered_model_meta"
    }


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    fill(sys.argv[1])
    Path(sys.argv[2]).write_text(json.dumps(said(sys.argv[1])))
