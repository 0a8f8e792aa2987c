"""Trains with MLflow's autologging on; to be run as ``client_autolog.py URL``."""

from __future__ import annotations

import os
import sys

# Finding out what a model imports takes minutes on a busy machine, and says nothing about the server.
os.environ["MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT"] = "1"

import lightgbm
import mlflow
import numpy as np
import xgboost
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("autolog")
mlflow.autolog(log_datasets=True, silent=True)
made = np.random.default_rng(7)
X = made.normal(size=(200, 4))
y = (X[:, 0] + made.normal(scale=0.1, size=200) > 0).astype(int)


def logged(run_id):
    run = mlflow.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.inputs.dataset_inputs
    (output,) = run.outputs.model_outputs
    model = mlflow.get_logged_model(output.model_id)
    assert (model.source_run_id, str(model.status)) == (run_id, "READY")
    return run, model


with mlflow.start_run() as started:
    LogisticRegression(C=0.5).fit(X, y)
run, model = logged(started.info.run_id)
assert run.data.params["C"] == "0.5"
assert run.data.metrics["training_accuracy_score"] > 0.9
loaded = mlflow.sklearn.load_model(f"models:/{model.model_id}")
assert (loaded.predict(X) == y).mean() > 0.9
plots = [one.path for one in mlflow.artifacts.list_artifacts(run_id=run.info.run_id)]
assert "estimator.html" in plots, plots

with mlflow.start_run() as started:
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X, y)
children = mlflow.search_runs(filter_string=f"tags.`mlflow.parentRunId` = '{started.info.run_id}'")
assert len(children) == 2

with mlflow.start_run() as started:
    lightgbm.train(
        {"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, y), 5, valid_sets=[lightgbm.Dataset(X, y)]
    )
run, _ = logged(started.info.run_id)
assert run.data.params["objective"] == "binary"
history = mlflow.MlflowClient().get_metric_history(started.info.run_id, "valid_0-binary_logloss")
assert [one.step for one in history] == [0, 1, 2, 3, 4]

with mlflow.start_run() as started:
    data = xgboost.DMatrix(X, y)
    xgboost.train({"objective": "binary:logistic"}, data, 5, evals=[(data, "train")], verbose_eval=False)
run, _ = logged(started.info.run_id)
assert run.data.metrics["train-logloss"] < 0.7

named = mlflow.sklearn.log_model(LogisticRegression().fit(X, y), name="plain", input_example=X[:2])
assert (mlflow.pyfunc.load_model(named.model_uri).predict(X) == y).mean() > 0.9
sys.stdout.write("done\n")
