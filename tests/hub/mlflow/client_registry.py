"""Drives the registry of MLflow's own client against a server; to be run as ``client_registry.py URL``.

With another word behind the URL it drives MLflow's own server, and passes over what undrift does in its own way.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent, WebhookStatus
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression

URL = sys.argv[1]
OURS = len(sys.argv) < 3
mlflow.set_tracking_uri(URL)
client = MlflowClient(URL, URL)
X = np.array([[0.0], [1.0], [2.0], [3.0]])


def trained(turned=False):
    return LogisticRegression().fit(X, [1, 1, 0, 0] if turned else [0, 0, 1, 1])


def refused(code, text, call, *given, **named):
    """The call is refused with this code, and a message that has this text."""
    caught = None
    try:
        call(*given, **named)
    except MlflowException as error:
        caught = error
    assert caught is not None, f"{call} was not refused"
    assert caught.error_code == code, (caught.error_code, caught.message)
    assert text in caught.message, caught.message


def models():
    made = client.create_registered_model("late", tags={"team": "rail"}, description="Is it late?")
    assert (made.name, made.description, made.tags) == ("late", "Is it late?", {"team": "rail"})
    assert made.creation_timestamp == made.last_updated_timestamp
    refused(
        "RESOURCE_ALREADY_EXISTS", "Registered Model (name=late) already exists", client.create_registered_model, "late"
    )
    refused("INVALID_PARAMETER_VALUE", "Names cannot contain '/' or ':'", client.create_registered_model, "a/b")
    refused(
        "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'name'", client.create_registered_model, ""
    )
    refused("RESOURCE_DOES_NOT_EXIST", "Registered Model with name=none not found", client.get_registered_model, "none")
    refused("RESOURCE_DOES_NOT_EXIST", "name=none not found", client.delete_registered_model, "none")
    refused("RESOURCE_DOES_NOT_EXIST", "name=none not found", client.rename_registered_model, "none", "more")
    refused("RESOURCE_DOES_NOT_EXIST", "name=none not found", client.get_latest_versions, "none")
    client.set_registered_model_tag("late", "team", "road")
    client.set_registered_model_tag("late", "empty", "")
    assert client.get_registered_model("late").tags == {"team": "road", "empty": ""}
    client.delete_registered_model_tag("late", "empty")
    client.delete_registered_model_tag("late", "empty")
    refused("RESOURCE_DOES_NOT_EXIST", "name=none not found", client.set_registered_model_tag, "none", "a", "b")
    long = "k" * 251
    refused(
        "INVALID_PARAMETER_VALUE",
        "exceeds the maximum length of 250",
        client.set_registered_model_tag,
        "late",
        long,
        "",
    )
    big = "v" * 100_001
    refused("INVALID_PARAMETER_VALUE", "maximum length of 100000", client.set_registered_model_tag, "late", "k", big)
    changed = client.update_registered_model("late", "Will it be late?")
    assert changed.description == "Will it be late?"
    assert changed.last_updated_timestamp >= made.last_updated_timestamp
    other = client.create_registered_model("Späte Züge")
    assert client.get_registered_model("Späte Züge").creation_timestamp == other.creation_timestamp
    refused("RESOURCE_ALREADY_EXISTS", "already exists", client.rename_registered_model, "Späte Züge", "late")
    client.rename_registered_model("Späte Züge", "early")
    assert client.get_registered_model("early").creation_timestamp == other.creation_timestamp
    refused("RESOURCE_DOES_NOT_EXIST", "not found", client.get_registered_model, "Späte Züge")
    client.delete_registered_model("early")
    refused("RESOURCE_DOES_NOT_EXIST", "not found", client.delete_registered_model, "early")


def searches():
    for name in ("m1", "m2", "m3"):
        client.create_registered_model(name, tags={"group": "m"})
    names = lambda found: [one.name for one in found]  # noqa: E731
    assert names(client.search_registered_models()) == ["late", "m1", "m2", "m3"]
    assert names(client.search_registered_models("name LIKE 'm%'", order_by=["name DESC"])) == ["m3", "m2", "m1"]
    assert names(client.search_registered_models("name ILIKE 'M2'")) == ["m2"]
    assert names(client.search_registered_models("tags.group = 'm' AND name != 'm1'")) == ["m2", "m3"]
    assert names(client.search_registered_models(order_by=["last_updated_timestamp DESC"], max_results=1)) == ["m3"]
    page = client.search_registered_models(max_results=3)
    assert names(page) == ["late", "m1", "m2"]
    page = client.search_registered_models(max_results=3, page_token=page.token)
    assert (names(page), page.token) == (["m3"], None) or (names(page), page.token) == (["m3"], "")
    for wrong in ("name", "nam = 'x'", "name > 'x'", "name = 'x' OR name = 'y'", "tags.a = 3"):
        refused("INVALID_PARAMETER_VALUE", "", client.search_registered_models, wrong)
    refused("INVALID_PARAMETER_VALUE", "", client.search_registered_models, page_token="no token")
    refused("INVALID_PARAMETER_VALUE", "", client.search_registered_models, max_results=1001)
    client.set_registered_model_tag("m2", "mlflow.prompt.is_prompt", "true")
    assert names(client.search_registered_models("name LIKE 'm%'")) == ["m1", "m3"]
    for name in ("m1", "m3"):
        client.delete_registered_model(name)


def versions():
    with mlflow.start_run() as run:
        run_id = run.info.run_id
        mlflow.log_text("flavors: {}", "model/MLmodel")
    root = run.info.artifact_uri
    first = client.create_model_version("late", f"{root}/model", run_id, tags={"a": "b"}, description="The first")
    assert (first.name, first.version, first.status, first.current_stage) == ("late", "1", "READY", "None") or not OURS
    assert (first.run_id, first.source, first.description) == (run_id, f"{root}/model", "The first")
    second = client.create_model_version("late", f"runs:/{run_id}/model", run_id, run_link="https://a.b/c")
    assert (str(second.version), second.run_link, second.source) == ("2", "https://a.b/c", f"runs:/{run_id}/model")
    found = client.get_model_version("late", "1")
    assert (found.tags, found.description, found.aliases) == ({"a": "b"}, "The first", [])
    refused(
        "RESOURCE_DOES_NOT_EXIST",
        "Model Version (name=late, version=9) not found",
        client.get_model_version,
        "late",
        "9",
    )
    refused("INVALID_PARAMETER_VALUE", "must be an integer", client.get_model_version, "late", "x")
    refused("RESOURCE_DOES_NOT_EXIST", "not found", client.create_model_version, "none", f"{root}/model", run_id)
    client.set_model_version_tag("late", "1", "c", "d")
    client.delete_model_version_tag("late", "1", "a")
    client.delete_model_version_tag("late", "1", "a")
    assert client.get_model_version("late", "1").tags == {"c": "d"}
    assert client.update_model_version("late", "1", "The very first").description == "The very first"

    for source in (
        ("/etc/passwd", "file:///etc", "dbfs:/x", f"{root}/../x", f"{root}/%2e%2e/x", f"{root}2/model") if OURS else ()
    ):
        refused(
            "INVALID_PARAMETER_VALUE",
            "Invalid model version source",
            client.create_model_version,
            "late",
            source,
            run_id,
        )
    for source in ("/etc/passwd", "file:///etc", f"{root}/../x", f"{root}/%2e%2e/x", f"{root}2/model"):
        refused("INVALID_PARAMETER_VALUE", "nvalid", client.create_model_version, "late", source, run_id)
    refused("INVALID_PARAMETER_VALUE", "nvalid", client.create_model_version, "late", f"runs:/{run_id}/model", "0" * 32)

    # Stages and the newest version of each.
    assert client.transition_model_version_stage("late", "1", "production").current_stage == "Production"
    client.transition_model_version_stage("late", "2", "Production", archive_existing_versions=True)
    assert client.get_model_version("late", "1").current_stage == "Archived"
    latest = {one.current_stage: str(one.version) for one in client.get_latest_versions("late")}
    assert latest == {"Archived": "1", "Production": "2"}
    assert [str(one.version) for one in client.get_latest_versions("late", ["Production"])] == ["2"]
    assert client.get_latest_versions("late", ["Staging"]) == []
    stages = {one.current_stage for one in client.get_registered_model("late").latest_versions}
    assert stages == {"Archived", "Production"}
    wrong = "Invalid Model Version stage: Live. Value must be one of None, Staging, Production, Archived."
    refused("INVALID_PARAMETER_VALUE", wrong, client.transition_model_version_stage, "late", "1", "Live")
    refused("INVALID_PARAMETER_VALUE", "Invalid Model Version stage", client.get_latest_versions, "late", ["Live"])

    # Aliases.
    client.set_registered_model_alias("late", "champion", "1")
    client.set_registered_model_alias("late", "champion", "2")
    client.set_registered_model_alias("late", "best-of_2", "2")
    assert client.get_registered_model("late").aliases in (
        {"champion": "2", "best-of_2": "2"},
        {"champion": 2, "best-of_2": 2},
    )
    assert sorted(client.get_model_version("late", "2").aliases) == ["best-of_2", "champion"]
    assert str(client.get_model_version_by_alias("late", "champion").version) == "2"
    assert str(client.get_model_version_by_alias("late", "latest").version) == "2"
    for alias in ("latest", "LATEST", "v1", "V12"):
        refused("INVALID_PARAMETER_VALUE", "reserved", client.set_registered_model_alias, "late", alias, "1")
    refused("INVALID_PARAMETER_VALUE", "", client.set_registered_model_alias, "late", "no alias", "1")
    refused("RESOURCE_DOES_NOT_EXIST", "", client.set_registered_model_alias, "late", "champion", "9")
    assert str(client.get_model_version_by_alias("late", "champion").version) == "2"
    client.delete_registered_model_alias("late", "best-of_2")
    client.delete_registered_model_alias("late", "best-of_2")
    refused(
        "INVALID_PARAMETER_VALUE",
        "Registered model alias best-of_2 not found.",
        client.get_model_version_by_alias,
        "late",
        "best-of_2",
    )
    refused("RESOURCE_DOES_NOT_EXIST", "name=none", client.get_model_version_by_alias, "none", "champion")

    # Search.
    numbers = lambda found: [int(one.version) for one in found]  # noqa: E731
    assert sorted(numbers(client.search_model_versions("name = 'late'"))) == [1, 2]
    assert numbers(client.search_model_versions(f"run_id = '{run_id}'", order_by=["version_number ASC"])) == [1, 2]
    assert numbers(client.search_model_versions("name = 'late' AND version_number > 1")) == [2]
    assert numbers(client.search_model_versions("tags.c = 'd'")) == [1]
    assert numbers(client.search_model_versions(f"source_path = 'runs:/{run_id}/model'")) == [2]
    page = client.search_model_versions("name = 'late'", max_results=1, order_by=["creation_timestamp DESC"])
    assert numbers(page) == [2]
    assert numbers(client.search_model_versions("name = 'late'", 1, ["creation_timestamp DESC"], page.token)) == [1]
    refused("INVALID_PARAMETER_VALUE", "", client.search_model_versions, "stage = 'x'")
    refused("INVALID_PARAMETER_VALUE", "", client.search_model_versions, max_results=200_001)

    # Copies.
    copy = client.copy_model_version("models:/late/2", "copied")
    assert (copy.name, str(copy.version), copy.source, copy.run_id) == ("copied", "1", "models:/late/2", run_id)
    assert copy.current_stage == "None"
    assert client.get_model_version_download_uri("copied", "1").startswith("mlflow-artifacts:/") or not OURS
    client.create_model_version("copied", "models:/late@champion")
    assert client.get_model_version("copied", "2").source == "models:/late/2"

    # A version that is deleted takes its aliases along; its number does not come again.
    client.delete_model_version("late", "2")
    refused("RESOURCE_DOES_NOT_EXIST", "version=2", client.get_model_version, "late", "2")
    refused("INVALID_PARAMETER_VALUE", "champion not found", client.get_model_version_by_alias, "late", "champion")
    assert client.create_model_version("late", f"runs:/{run_id}/model", run_id).version in ("3", 3)
    client.rename_registered_model("late", "later")
    assert client.get_model_version("later", "1").name == "later"
    client.delete_registered_model("later")
    refused("RESOURCE_DOES_NOT_EXIST", "", client.get_model_version, "later", "1")
    assert numbers(client.search_model_versions("name = 'later'")) == []


def flavours():
    with mlflow.start_run() as run:
        logged = mlflow.sklearn.log_model(
            trained(), name="model", registered_model_name="delays", input_example=X, serialization_format="pickle"
        )
    version = client.get_model_version("delays", "1")
    assert (version.run_id, version.source) == (run.info.run_id, f"models:/{logged.model_id}")
    assert (version.description, version.run_link) == ("", "")
    tags = client.get_logged_model(logged.model_id).tags
    assert {"name": "delays", "version": "1"} in [
        one | {"version": str(one["version"])} for one in json.loads(tags["mlflow.modelVersions"])
    ]
    assert mlflow.sklearn.load_model("models:/delays/1").predict(X).tolist() == [0, 0, 1, 1]
    loaded = mlflow.pyfunc.load_model("models:/delays/latest")
    assert np.asarray(loaded.predict(X)).tolist() == [0, 0, 1, 1]
    assert mlflow.models.get_model_info("models:/delays/1").model_id == logged.model_id
    again = mlflow.register_model(f"runs:/{run.info.run_id}/model", "delays", tags={"again": "yes"})
    assert (str(again.version), again.tags) == ("2", {"again": "yes"})
    client.set_registered_model_alias("delays", "champion", again.version)
    assert mlflow.sklearn.load_model("models:/delays@champion").predict(X).tolist() == [0, 0, 1, 1]
    third = mlflow.register_model(f"models:/{logged.model_id}", "delays")
    client.transition_model_version_stage("delays", third.version, "Staging")
    assert mlflow.sklearn.load_model("models:/delays/Staging").predict(X).tolist() == [0, 0, 1, 1]
    fourth = mlflow.register_model("models:/delays@champion", "copied too")
    assert (fourth.run_id, fourth.source) == (run.info.run_id, "models:/delays/2")
    assert mlflow.sklearn.load_model("models:/copied too/1").predict(X).tolist() == [0, 0, 1, 1]


def bound():
    """What is registered is what is loaded, whatever becomes of the artifacts of the run."""
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run() as run:
        mlflow.sklearn.save_model(trained(), f"{folder}/one", serialization_format="pickle")
        mlflow.sklearn.save_model(trained(turned=True), f"{folder}/two", serialization_format="pickle")
        client.log_artifacts(run.info.run_id, f"{folder}/one", "kept")
        client.create_registered_model("kept")
        client.create_model_version("kept", f"{run.info.artifact_uri}/kept", run.info.run_id)
        client.log_artifacts(run.info.run_id, f"{folder}/two", "kept")
        client.log_text(run.info.run_id, "new", "kept/more.txt")
        assert mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/kept").predict(X).tolist() == [1, 1, 0, 0]
        assert mlflow.sklearn.load_model("models:/kept/1").predict(X).tolist() == [0, 0, 1, 1]
        down = mlflow.artifacts.download_artifacts("models:/kept/1", dst_path=f"{folder}/down")
        at = sorted(str(one.relative_to(down)) for one in Path(down).rglob("*") if one.is_file())
        assert "more.txt" not in at
        registered = (Path(folder) / "one" / "model.pkl").read_bytes()
        assert (Path(down) / "model.pkl").read_bytes() == registered
    client.delete_run(run.info.run_id)
    assert mlflow.sklearn.load_model("models:/kept/1").predict(X).tolist() == [0, 0, 1, 1]


def webhooks():
    events = [WebhookEvent(WebhookEntity.MODEL_VERSION, WebhookAction.CREATED), "registered_model.created"]
    address = "https://8.8.8.8/hook"
    made = client.create_webhook("to-chat", address, events, description="For us", secret="s3cret")
    assert (made.name, made.url, made.description, made.status) == ("to-chat", address, "For us", WebhookStatus.ACTIVE)
    assert [str(one) for one in made.events] == ["model_version.created", "registered_model.created"]
    assert made.secret is None
    assert client.get_webhook(made.webhook_id).name == "to-chat"
    other = client.create_webhook("other", address, ["model_version_tag.set"], status="DISABLED")
    assert other.status == WebhookStatus.DISABLED
    page = client.list_webhooks(max_results=1)
    assert [one.name for one in page] == ["other"] or not OURS
    assert [one.name for one in client.list_webhooks(max_results=1, page_token=page.token)] == ["to-chat"] or not OURS
    changed = client.update_webhook(made.webhook_id, name="renamed", events=["model_version_alias.created"])
    assert (changed.name, [str(one) for one in changed.events]) == ("renamed", ["model_version_alias.created"])
    assert (changed.url, changed.description) == (address, "For us")
    assert client.update_webhook(made.webhook_id, status="DISABLED").status == WebhookStatus.DISABLED
    for name in ("", "-a", "a b", "n" * 64):
        refused("INVALID_PARAMETER_VALUE", "", client.create_webhook, name, address, events)
    for url in ("http://8.8.8.8/", "https://127.0.0.1/", "https://169.254.169.254/latest", "ftp://8.8.8.8/", "nothing"):
        refused("INVALID_PARAMETER_VALUE", "", client.create_webhook, "bad", url, events)
        refused("INVALID_PARAMETER_VALUE", "", client.update_webhook, made.webhook_id, url=url)
    client.delete_webhook(made.webhook_id)
    refused("RESOURCE_DOES_NOT_EXIST", "not found", client.get_webhook, made.webhook_id)
    refused("RESOURCE_DOES_NOT_EXIST", "not found", client.delete_webhook, made.webhook_id)
    client.delete_webhook(other.webhook_id)
    assert list(client.list_webhooks()) == []


PARTS = (models, searches, versions, flavours, bound, webhooks)
for part in PARTS:
    if part is bound and not OURS:
        continue
    part()
    sys.stdout.write(f"{part.__name__}\n")
