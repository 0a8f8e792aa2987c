"""Registered models and versions: where their files may come from, what stays bound, and MLflow's own client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from undrift import registry, tracking
from undrift.events import ListEvents, list_events
from undrift.tracking.artifacts import PutArtifact, PutArtifacts, put_artifacts

API = "/api/2.0/mlflow"
RUN = "import sys; from undrift.hub import run; run(sys.argv[1], port=0, on_ready=lambda url: print(url, flush=True))"
MLMODEL = b'flavors: {}\nsignature:\n  inputs: \'[{"name": "temp", "type": "double", "required": true}]\'\n'
HOST = "127.0.0.1:7470"


@pytest.fixture
def ask(http):
    """Ask under an address of the protocol; returns status and answer."""

    def asked(method, path, body=None, *, prefix="", **headers):
        given = {"params": body} if method == "GET" else {"json": body or {}}
        answer = http.request(method, f"{prefix}{API}/{path}", headers=headers, **given)
        return answer.status_code, answer.json()

    return asked


def put(workspace, root, files):
    ctx = workspace.context()
    objects = {path: ctx.repository.objects.put(data) for path, data in files.items()}
    put_artifacts(ctx, PutArtifacts(root, tuple(PutArtifact(path, objects[path], len(files[path])) for path in files)))


def begin(workspace, project="default"):
    return tracking.start_run(workspace.context(), tracking.StartRun(project, "late", "first"))


@pytest.fixture
def run(workspace):
    """A run with a model among its files."""
    begun = begin(workspace)
    put(workspace, begun.id, {"model/MLmodel": MLMODEL, "model/data/weights": b"first", "other/MLmodel": MLMODEL})
    return begun


def make_logged(workspace, run, *, name="beside", project="default"):
    asked = tracking.CreateLoggedModel(project, run.experiment_id, name, source_run_id=run.id)
    made = tracking.create_model(workspace.context(), asked)
    put(workspace, made.id, {"MLmodel": MLMODEL, "data/weights": b"logged"})
    return made


@pytest.fixture
def logged(workspace, run):
    """A logged model of the run."""
    return make_logged(workspace, run)


@pytest.fixture
def late(ask):
    """A registered model with that name."""
    assert ask("POST", "registered-models/create", {"name": "late"})[0] == 200


@pytest.fixture
def events(workspace):
    """The types of all events so far, newest first."""
    return lambda: [one.type for one in list_events(workspace.context(), ListEvents(limit=1000))]


def register(ask, source, *, name="late", prefix="", **given):
    return ask("POST", "model-versions/create", {"name": name, "source": source, **given}, prefix=prefix)


def files_of(workspace, number, name="late", project="default"):
    ctx = workspace.context()
    version = registry.find_version(ctx, registry.FindVersion(project, name, number))
    return {
        path: ctx.repository.objects.get(entry.digest) for path, entry in ctx.repository.trees.walk(version.artifact)
    }


def refused(answer, code, text, status=400):
    assert (answer[0], answer[1].get("error_code")) == (status, code), answer
    assert text in answer[1]["message"]


# -- where files come from --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "runs:/{run}/model",
        "mlflow-artifacts:/{experiment}/{run}/artifacts/model",
        "mlflow-artifacts://" + HOST + "/{experiment}/{run}/artifacts/model",
        "http://" + HOST + "/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/model",
    ],
)
def test_a_version_is_made_of_what_a_run_has_at_a_path(ask, workspace, late, run, source):
    source = source.format(run=run.id, experiment=run.experiment_id)
    status, answer = register(ask, source, run_id=run.id, description="The first", tags=[{"key": "a", "value": "b"}])
    assert status == 200, answer
    made = answer["model_version"]
    assert (made["version"], made["source"], made["run_id"]) == ("1", source, run.id)
    assert (made["status"], made["current_stage"], made["description"]) == ("READY", "None", "The first")
    assert made["tags"] == [{"key": "a", "value": "b"}]
    assert files_of(workspace, 1) == {"MLmodel": MLMODEL, "data/weights": b"first"}
    version = registry.find_version(workspace.context(), registry.FindVersion("default", "late", 1))
    assert [(one.name, one.nullable) for one in version.contract.inputs] == [("temp", False)]
    assert version.format == "mlflow"


@pytest.mark.parametrize("source", ["runs:/{run}/model", "mlflow-artifacts:/{experiment}/{run}/artifacts/model"])
def test_the_run_need_not_be_said_twice(ask, late, run, source):
    status, answer = register(ask, source.format(run=run.id, experiment=run.experiment_id))
    assert (status, answer["model_version"]["run_id"]) == (200, run.id)


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("models:/{model}", {"MLmodel", "data/weights"}),
        ("models:/{model}/data", {"weights"}),
        ("mlflow-artifacts:/{experiment}/models/{model}/artifacts", {"MLmodel", "data/weights"}),
        ("mlflow-artifacts:/{experiment}/models/{model}/artifacts/data", {"weights"}),
        ("runs:/{run}/beside", {"MLmodel", "data/weights"}),
        ("mlflow-artifacts:/{experiment}/{run}/artifacts/beside/data", {"weights"}),
    ],
)
def test_a_version_is_made_of_a_logged_model_which_says_the_run_and_is_told(
    ask, workspace, late, logged, source, files
):
    source = source.format(run=logged.source_run_id, experiment=logged.experiment_id, model=logged.id)
    status, answer = register(ask, source)
    assert status == 200, answer
    made = answer["model_version"]
    assert (made["source"], made["run_id"], made["model_id"]) == (source, logged.source_run_id, logged.id)
    found = files_of(workspace, 1)
    assert set(found) == files
    assert b"logged" in found.values()
    tags = ask("GET", f"logged-models/{logged.id}")[1]["model"]["info"]["tags"]
    assert [(one["key"], json.loads(one["value"])) for one in tags] == [
        ("mlflow.modelVersions", [{"name": "late", "version": "1"}])
    ]
    register(ask, source)
    told = tracking.find_model(workspace.context(), tracking.FindLoggedModel("default", logged.id)).tags
    assert [one["version"] for one in json.loads(told["mlflow.modelVersions"])] == ["1", "2"]


@pytest.mark.parametrize("spoilt", ["no json", "{}", "[" * 100_000, "[1, null]"])
def test_what_somebody_wrote_into_the_tag_of_a_logged_model_does_no_harm(ask, workspace, late, logged, spoilt):
    changed = tracking.ChangeModel("default", logged.id, tags={"mlflow.modelVersions": spoilt[:4000]})
    tracking.change_model(workspace.context(), changed)
    assert register(ask, f"models:/{logged.id}")[0] == 200
    told = tracking.find_model(workspace.context(), tracking.FindLoggedModel("default", logged.id)).tags
    assert json.loads(told["mlflow.modelVersions"])[-1] == {"name": "late", "version": "1"}


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("models:/late/1", "models:/late/1"),
        ("models:/late@champion", "models:/late/1"),
        ("models:/late/latest", "models:/late/2"),
        ("models:/late/production", "models:/late/2"),
    ],
)
def test_a_version_is_copied_with_all_that_it_is_bound_to(ask, workspace, late, run, logged, source, kept):
    register(ask, f"models:/{logged.id}")
    register(ask, f"runs:/{run.id}/model")
    ask("POST", "registered-models/alias", {"name": "late", "alias": "champion", "version": "1"})
    ask("POST", "model-versions/transition-stage", {"name": "late", "version": "2", "stage": "PRODUCTION"})
    ask("POST", "registered-models/create", {"name": "copies"})
    status, answer = register(ask, source, name="copies")
    assert status == 200, answer
    ctx = workspace.context()
    number = int(kept[-1])
    before = registry.find_version(ctx, registry.FindVersion("default", "late", number))
    after = registry.find_version(ctx, registry.FindVersion("default", "copies", 1))
    assert (answer["model_version"]["source"], answer["model_version"]["run_id"]) == (kept, run.id)
    assert (after.artifact, after.signature, after.format) == (before.artifact, before.signature, before.format)
    assert after.logged_model_id == (logged.id if number == 1 else None)
    assert after.stage == "None"


REFUSED = [
    "",
    "/etc/passwd",
    "etc/passwd",
    "../../../etc/passwd",
    "C:\\windows",
    "C:/windows",
    "\\\\host\\share",
    "file:///etc/passwd",
    "file://host/etc/passwd",
    "file:/etc/passwd",
    "s3://bucket/key",
    "gs://bucket/key",
    "wasbs://a@b/c",
    "dbfs:/model",
    "hdfs://a/b",
    "ftp://a/b",
    "sftp://a/b",
    "data:text/plain,x",
    "http:///#/../../../etc/",
    "http://example.com/model",
    "https://example.com/api/2.0/mlflow-artifacts/artifacts/{good}",
    "http://user@" + HOST + "/api/2.0/mlflow-artifacts/artifacts/{good}",
    "http://" + HOST + "/model",
    "http://" + HOST + "/ajax-api/2.0/mlflow-artifacts/artifacts/{good}",
    "http://" + HOST + "/x/../api/2.0/mlflow-artifacts/artifacts/{good}",
    "mlflow-artifacts://example.com/{good}",
    "mlflow-artifacts:{good}",
    "mlflow-artifacts:///{good}",
    "mlflow-artifacts://" + HOST + "//{good}",
    "MLFLOW-ARTIFACTS:/{good}",
    "mlflow-artifacts:/{good}?x=y",
    "mlflow-artifacts:/{good}#x",
    "mlflow-artifacts:/{good};x",
    "mlflow-artifacts:/{good}/",
    "mlflow-artifacts:/{good}/..",
    "mlflow-artifacts:/{good}/../model",
    "mlflow-artifacts:/{good}/%2e%2e/model",
    "mlflow-artifacts:/{good}/%252e%252e/model",
    "mlflow-artifacts:/{good}/..%2fmodel",
    "mlflow-artifacts:/{good}/..\\model",
    "mlflow-artifacts:/{good}\n",
    " mlflow-artifacts:/{good}",
    "mlflow-artifacts:/../{good}",
    "mlflow-artifacts:/{good}/none",
    "mlflow-artifacts:/999/{run}/artifacts/model",
    "mlflow-artifacts:/{experiment}/{run}/model",
    "mlflow-artifacts:/{experiment}/models/{run}/artifacts",
    "mlflow-artifacts:/registered-models/{run}/1",
    "runs:/{run}",
    "runs:/{run}/",
    "runs:/{run}/none",
    "runs:/{run}/../{run}/model",
    "runs:/{run}/model/../model",
    "runs:/{run}/%2e%2e",
    "runs:/{run}//model",
    "runs://{run}/model",
    "runs://host/{run}/model",
    "runs:/{upper}/model",
    "runs:/00000000000000000000000000000000/model",
    "runs:/{foreign}/model",
    "mlflow-artifacts:/{foreign_experiment}/{foreign}/artifacts/model",
    "models:/m-00000000000000000000000000000000",
    "models:/{foreign_model}",
    "models:/{logged}/..",
    "models:/{logged}/none",
    "models://host/{logged}",
    "models:/none/1",
    "models:/late/1",
    "models:/late/99999999999999999999",
    "models:/late/-1",
    "models:/late@none",
    "models:/late/Production",
    "models:/late/latest",
    "models:/late",
    "models:/",
    "models:/theirs/1",
    "x" * 100_000,
]


@pytest.fixture
def words(workspace, run, logged):
    """What the sources speak of: things of this project, and of another one."""
    theirs = begin(workspace, "elsewhere")
    put(workspace, theirs.id, {"model/MLmodel": MLMODEL})
    foreign_model = make_logged(workspace, theirs, name="theirs", project="elsewhere")
    ctx = workspace.context()
    registry.register_model(ctx, registry.RegisterModel("elsewhere", "theirs"))
    tree = ctx.repository.trees.edit(None, {"MLmodel": MLMODEL})
    registry.register_version(ctx, registry.RegisterVersion("elsewhere", "theirs", artifact=tree))
    return {
        "run": run.id,
        "upper": run.id.upper(),
        "experiment": run.experiment_id,
        "good": f"{run.experiment_id}/{run.id}/artifacts/model",
        "logged": logged.id,
        "foreign": theirs.id,
        "foreign_experiment": theirs.experiment_id,
        "foreign_model": foreign_model.id,
    }


def test_every_other_source_is_refused_whatever_the_tags_say_and_nothing_is_written(ask, late, words, events):
    before = events()
    switches = [
        [],
        [{"key": "mlflow.prompt.is_prompt", "value": "true"}],
        [{"key": "mlflow.prompt.is_prompt", "value": "TRUE"}, {"key": "mlflow.prompt.text", "value": "x"}],
        [{"key": "_mlflow_prompt_type", "value": "text"}, {"key": "mlflow.source.type", "value": "LOCAL"}],
    ]
    for source in (shape.format_map(words) for shape in REFUSED):
        for tags in switches:
            for given in ({}, {"run_id": words["run"]}, {"model_id": words["logged"]}):
                answer = register(ask, source, tags=tags, **given)
                text = f"Invalid model version source: '{source[:200]}'" if source else "Missing value"
                refused(answer, "INVALID_PARAMETER_VALUE", text)
    assert events() == before


@pytest.mark.parametrize("placeholder", ["prompt-template", "dummy-source", ""])
def test_the_placeholders_of_prompts_are_no_sources(ask, late, placeholder):
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "Hello"}]
    refused(register(ask, placeholder, tags=tags), "INVALID_PARAMETER_VALUE", "source")


def test_prompts_are_said_not_to_be_supported(ask, late, run, events):
    before = events()
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    refused(
        ask("POST", "registered-models/create", {"name": "p", "tags": tags}), "NOT_IMPLEMENTED", "prompts", status=501
    )
    refused(register(ask, f"runs:/{run.id}/model", tags=tags), "NOT_IMPLEMENTED", "prompts", status=501)
    assert events() == before


def test_a_run_or_logged_model_that_does_not_fit_the_source_is_refused(ask, workspace, late, run, logged):
    other = begin(workspace)
    put(workspace, other.id, {"model/MLmodel": MLMODEL})
    other_model = make_logged(workspace, other, name="other")
    said = "request parameter must identify"
    for source, given in (
        (f"runs:/{run.id}/model", {"run_id": other.id}),
        (f"runs:/{run.id}/model", {"model_id": logged.id}),
        (f"mlflow-artifacts:/{run.experiment_id}/{run.id}/artifacts/model", {"run_id": other.id}),
        (f"models:/{logged.id}", {"model_id": other_model.id}),
        (f"models:/{logged.id}", {"run_id": other.id}),
        (f"mlflow-artifacts:/{run.experiment_id}/models/{logged.id}/artifacts", {"model_id": other_model.id}),
    ):
        refused(register(ask, source, **given), "INVALID_PARAMETER_VALUE", said)
    register(ask, f"runs:/{run.id}/model")
    refused(register(ask, "models:/late/1", run_id=other.id), "INVALID_PARAMETER_VALUE", "must match the referenced")
    refused(register(ask, "models:/late/1", model_id=logged.id), "INVALID_PARAMETER_VALUE", "must match the referenced")


def test_what_is_in_another_project_is_reached_through_that_project_only(ask, workspace, late, words):
    there = "/projects/elsewhere"
    status, answer = ask("POST", "registered-models/create", {"name": "late"}, prefix=there)
    assert status == 200, answer
    source = f"runs:/{words['foreign']}/model"
    assert register(ask, source, prefix=there)[0] == 200
    refused(register(ask, source), "INVALID_PARAMETER_VALUE", "Invalid model version source")
    refused(
        register(ask, f"runs:/{words['run']}/model", prefix=there), "INVALID_PARAMETER_VALUE", "Invalid model version"
    )
    assert ask("GET", "model-versions/get", {"name": "late", "version": "1"})[0] == 404
    here = f"http://{HOST}{there}/api/2.0/mlflow-artifacts/artifacts/{words['foreign_experiment']}/{words['foreign']}"
    assert register(ask, f"{here}/artifacts/model", prefix=there)[0] == 200
    refused(register(ask, f"{here}/artifacts/model"), "INVALID_PARAMETER_VALUE", "Invalid model version source")


def test_a_logged_model_that_is_deleted_is_no_source(ask, workspace, late, logged):
    tracking.delete_model(workspace.context(), tracking.DeleteLoggedModel("default", logged.id))
    refused(register(ask, f"models:/{logged.id}"), "INVALID_PARAMETER_VALUE", "deleted")


def test_what_was_registered_is_what_is_read_whatever_becomes_of_the_run(ask, http, workspace, late, run):
    register(ask, f"runs:/{run.id}/model")
    put(workspace, run.id, {"model/data/weights": b"second", "model/more": b"more"})
    uri = ask("GET", "model-versions/get-download-uri", {"name": "late", "version": "1"})[1]["artifact_uri"]
    assert uri.startswith("mlflow-artifacts:/registered-models/")
    place = uri.removeprefix("mlflow-artifacts:/")
    root = f"/api/2.0/mlflow-artifacts/artifacts/{place}"
    assert http.get(f"{root}/data/weights").content == b"first"
    assert http.get(f"{root}/more").status_code == 404
    listed = http.get("/api/2.0/mlflow-artifacts/artifacts", params={"path": place}).json()["files"]
    assert sorted(one["path"] for one in listed) == ["MLmodel", "data"]
    assert http.put(f"{root}/data/weights", content=b"third").status_code == 400
    assert http.delete(f"{root}/data/weights").status_code == 400
    ask("DELETE", "runs/delete", {"run_id": run.id})
    ask("POST", "registered-models/rename", {"name": "late", "new_name": "later"})
    assert ask("GET", "model-versions/get-download-uri", {"name": "later", "version": "1"})[1]["artifact_uri"] == uri
    assert http.get(f"{root}/data/weights").content == b"first"


def test_a_version_whose_files_are_elsewhere_has_no_download_address(ask, workspace, late):
    asked = registry.RegisterVersion("default", "late", source="s3://somewhere/model")
    registry.register_version(workspace.context(), asked)
    answer = ask("GET", "model-versions/get-download-uri", {"name": "late", "version": "1"})
    refused(answer, "RESOURCE_DOES_NOT_EXIST", "kept elsewhere", status=404)
    refused(register(ask, "models:/late/1"), "INVALID_PARAMETER_VALUE", "kept elsewhere")


# -- models and versions ----------------------------------------------------------------------------------------------


def test_a_model_is_told_with_its_aliases_and_its_newest_version_in_each_stage(ask, late, run):
    for _ in range(3):
        register(ask, f"runs:/{run.id}/model")
    ask("POST", "registered-models/alias", {"name": "late", "alias": "champion", "version": "2"})
    ask("POST", "model-versions/transition-stage", {"name": "late", "version": "1", "stage": "staging"})
    model = ask("GET", "registered-models/get", {"name": "late"})[1]["registered_model"]
    assert model["aliases"] == [{"alias": "champion", "version": "2"}]
    assert {(one["current_stage"], one["version"]) for one in model["latest_versions"]} == {
        ("None", "3"),
        ("Staging", "1"),
    }
    for method in ("GET", "POST"):
        found = ask(method, "registered-models/get-latest-versions", {"name": "late", "stages": ["staging"]})[1]
        assert [one["version"] for one in found["model_versions"]] == ["1"]
        found = ask(method, "registered-models/get-latest-versions", {"name": "late"})[1]
        assert {one["version"] for one in found["model_versions"]} == {"1", "3"}
    assert ask("GET", "registered-models/get-latest-versions", {"name": "late", "stages": ["Archived"]}) == (200, {})
    assert ask("GET", "model-versions/get", {"name": "late", "version": "2"})[1]["model_version"]["aliases"] == [
        "champion"
    ]


def test_a_description_that_is_left_out_is_taken_away(ask, late):
    changed = ask("PATCH", "registered-models/update", {"name": "late", "description": "It says"})[1]
    assert changed["registered_model"]["description"] == "It says"
    assert "description" not in ask("PATCH", "registered-models/update", {"name": "late"})[1]["registered_model"]


def test_names_are_written_in_camel_case_too(ask, late):
    status, answer = ask("POST", "registered-models/rename", {"name": "late", "newName": "later"})
    assert (status, answer["registered_model"]["name"]) == (200, "later")


def test_what_is_not_there_is_said_in_the_words_of_mlflow(ask, late):
    one = {"name": "late", "version": "7"}
    for method, path, body in (
        ("GET", "model-versions/get", one),
        ("GET", "model-versions/get-download-uri", one),
        ("PATCH", "model-versions/update", one),
        ("DELETE", "model-versions/delete", one),
        ("POST", "model-versions/transition-stage", one | {"stage": "Staging"}),
        ("POST", "model-versions/set-tag", one | {"key": "a"}),
        ("DELETE", "model-versions/delete-tag", one | {"key": "a"}),
        ("POST", "registered-models/alias", one | {"alias": "champion"}),
    ):
        said = "Model Version (name=late, version=7) not found"
        refused(ask(method, path, body), "RESOURCE_DOES_NOT_EXIST", said, status=404)
        refused(ask(method, path, body | {"version": "x"}), "INVALID_PARAMETER_VALUE", "must be an integer")
        huge = body | {"version": "9" * 30}
        refused(ask(method, path, huge), "RESOURCE_DOES_NOT_EXIST", "not found", status=404)
    for method, path, body in (
        ("GET", "registered-models/get", {}),
        ("DELETE", "registered-models/delete", {}),
        ("PATCH", "registered-models/update", {}),
        ("POST", "registered-models/rename", {"new_name": "x"}),
        ("GET", "registered-models/get-latest-versions", {}),
        ("POST", "registered-models/set-tag", {"key": "a"}),
        ("DELETE", "registered-models/delete-tag", {"key": "a"}),
        ("GET", "registered-models/alias", {"alias": "a"}),
        ("DELETE", "registered-models/alias", {"alias": "a"}),
    ):
        said = "Registered Model with name=none not found"
        refused(ask(method, path, body | {"name": "none"}), "RESOURCE_DOES_NOT_EXIST", said, status=404)
    refused(
        ask("GET", "registered-models/alias", {"name": "late", "alias": "champion"}),
        "INVALID_PARAMETER_VALUE",
        "Registered model alias champion not found.",
    )
    # Not an alias that is missing: there is no version at all.
    refused(
        ask("GET", "registered-models/alias", {"name": "late", "alias": "latest"}),
        "RESOURCE_DOES_NOT_EXIST",
        "Latest version not found for model late.",
        status=404,
    )


def test_an_alias_that_asks_for_approval_does_not_move_without_it(ask, workspace, late, run):
    register(ask, f"runs:/{run.id}/model")
    policy = registry.SetApprovalPolicy(
        project="default", model="late", alias="champion", needed=1, reason="Two pairs of eyes."
    )
    registry.set_approval_policy(workspace.context(), policy)
    moved = ask("POST", "registered-models/alias", {"name": "late", "alias": "champion", "version": "1"})
    refused(moved, "PERMISSION_DENIED", "approv", status=403)
    assert "aliases" not in ask("GET", "registered-models/get", {"name": "late"})[1]["registered_model"]


def test_pages_follow_one_another_by_their_tokens(ask, run):
    for number in range(5):
        ask("POST", "registered-models/create", {"name": f"m{number}"})
        register(ask, f"runs:/{run.id}/model", name=f"m{number}")
    for path, key, order in (
        ("registered-models/search", "registered_models", "name DESC"),
        ("model-versions/search", "model_versions", "name DESC"),
    ):
        names, token = [], ""
        while True:
            page = ask("GET", path, {"max_results": 2, "order_by": order, "page_token": token})[1]
            names += [one["name"] for one in page[key]]
            token = page.get("next_page_token", "")
            if not token:
                break
        assert names == ["m4", "m3", "m2", "m1", "m0"]
    empty = ask("GET", "registered-models/search", {"max_results": 0})[1]
    assert list(empty) == ["next_page_token"]


def test_what_is_tagged_as_a_prompt_is_found_only_by_those_who_ask_for_prompts(ask, late):
    ask("POST", "registered-models/create", {"name": "other"})
    ask("POST", "registered-models/set-tag", {"name": "other", "key": "mlflow.prompt.is_prompt", "value": "true"})

    def names(filter_):
        return [
            one["name"] for one in ask("GET", "registered-models/search", {"filter": filter_})[1]["registered_models"]
        ]

    assert names("") == ["late"]
    assert names("tags.`mlflow.prompt.is_prompt` != 'true'") == ["late"]
    assert names("name LIKE '%' AND tag.`mlflow.prompt.is_prompt` = 'false'") == ["late"]
    assert names("tags.`mlflow.prompt.is_prompt` = 'true'") == ["other"]


def test_a_registration_that_is_sent_again_under_its_key_happens_once(ask, late, logged):
    key = {"idempotency-key": "once"}
    body = {"name": "late", "source": f"models:/{logged.id}"}
    first = ask("POST", "model-versions/create", body, **key)
    assert first[0] == 200
    assert ask("POST", "model-versions/create", body, **key) == first
    assert len(ask("GET", "model-versions/search", {})[1]["model_versions"]) == 1


# -- the client -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_client_of_mlflow_finds_its_whole_registry(blank, tmp_path):
    folder = shutil.copytree(blank, tmp_path / "live")
    hub = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        url = hub.stdout.readline().strip()
        asking = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("client_registry.py")), url]
        environment = {
            **os.environ,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "PYTHONUTF8": "1",
            "GIT_PYTHON_REFRESH": "quiet",
        }
        client = subprocess.run(asking, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=280)
    finally:
        hub.kill()
        hub.communicate()
    assert client.returncode == 0, client.stderr[-3000:]
    parts = ["models", "searches", "versions", "flavours", "bound", "webhooks"]
    assert [line for line in client.stdout.splitlines() if line in parts] == parts
