"""The bytes of MLflow's protocol: its routes, and its own client against a hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from urllib.parse import unquote_to_bytes

import anyio
import msgspec
import pytest

from undrift import registry, tracking
from undrift.core.hashing import hash_bytes
from undrift.hub import build_app
from undrift.hub.mlflow.artifacts import Place, parse_place
from undrift.tracking.artifacts import ArtifactTreeOf, FindArtifact, artifact_tree, find_artifact

PREFIXES = ["/api/2.0", "/ajax-api/2.0", "/projects/default/api/2.0"]
RUN = "import sys; from undrift.hub import run; run(sys.argv[1], port=0, on_ready=lambda url: print(url, flush=True))"
RUN_ID, MODEL_ID = "0" * 32, "m-" + "1" * 32
TRAVERSALS = [
    "../../../etc/passwd",
    "..%2f..%2fetc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252fetc%252fpasswd",
    "%25252e%25252e/etc",
    "..%5c..%5cetc",
    "..%255c..%255cetc",
    "a/../../etc",
    "a//b",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "C:%5cwindows",
    "C:/windows",
    "file:///etc/passwd",
    "a%23/../b",
    "a%3f/../b",
    "a;/../b",
    "a%00b",
    "%c0%ae%c0%ae/etc",
    "a%ff",
    "..",
    ".",
]


@pytest.fixture
def run(workspace):
    return tracking.start_run(workspace.context(), tracking.StartRun("default", "late", "first"))


@pytest.fixture
def home(run):
    return f"{run.experiment_id}/{run.id}/artifacts"


@pytest.fixture
def version(workspace):
    """Version 1 of a registered model, and the path of its files."""
    ctx = workspace.context()
    registry.register_model(ctx, registry.RegisterModel("default", "late model", "ops@example.com"))
    tree = ctx.repository.trees.edit(None, {"MLmodel": b"flavors: {}", "data/weights": b"12345"})
    made = registry.register_version(
        ctx, registry.RegisterVersion(project="default", model="late model", artifact=tree, format="mlflow")
    )
    [found] = registry.list_models(ctx, registry.ListModels("default"))
    return f"registered-models/{found.model.id}/{made.number}"


def ask(app, method, address, body=b"", **headers):
    """Ask the application under an address that nobody has tidied up."""
    raw, _, query = address.partition("?")
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    async def go():
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(raw).decode("utf-8", "replace"),
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                *((name.encode(), value.encode()) for name, value in headers.items()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "root_path": "",
            "state": {},
            "app": app,
            "litestar_app": app,
        }
        await app.asgi_handler(scope, receive, send)

    anyio.run(go)
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (f"12/{RUN_ID}/artifacts", Place(RUN_ID, "", experiment=12)),
        (f"0/{RUN_ID}/artifacts/a/b.txt", Place(RUN_ID, "a/b.txt", experiment=0)),
        (f"0/models/{MODEL_ID}/artifacts/MLmodel", Place(MODEL_ID, "MLmodel", experiment=0)),
        (f"registered-models/{RUN_ID}/3/data/x", Place("", "data/x", model_id=RUN_ID, number=3)),
    ],
)
def test_a_proxied_path_names_what_it_belongs_to(path, place):
    assert parse_place(path) == place


@pytest.mark.parametrize(
    "path",
    [
        "",
        "0",
        f"0/{RUN_ID}",
        f"0/{RUN_ID}/other/a",
        f"x/{RUN_ID}/artifacts/a",
        f"-1/{RUN_ID}/artifacts/a",
        f"0/{RUN_ID[1:]}/artifacts/a",
        f"0/{MODEL_ID}/artifacts/a",
        f"0/models/{RUN_ID}/artifacts/a",
        f"/0/{RUN_ID}/artifacts/a",
        f"0//{RUN_ID}/artifacts/a",
        f"0/{RUN_ID}/artifacts/../../x",
        f"../0/{RUN_ID}/artifacts/a",
        f"0/{RUN_ID}/artifacts/a\n",
        f"registered-models/{RUN_ID}/v1/a",
        "registered-models/late/1/a",
        "٣/" + RUN_ID + "/artifacts/a",
    ],
)
def test_every_other_path_is_refused(path):
    from undrift.core.errors import Invalid

    with pytest.raises(Invalid, match="Invalid path"):
        parse_place(path)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_file_comes_back_as_it_went_and_can_be_deleted(http, workspace, run, home, prefix):
    base = f"{prefix}/mlflow-artifacts/artifacts"
    for name, data in (("a.txt", b"one"), ("plots/Größe 1.png", os.urandom(3_000_000)), ("empty", b"")):
        answer = http.put(f"{base}/{home}/{name}", content=data)
        assert (answer.status_code, answer.content) == (200, b"{}")
        answer = http.get(f"{base}/{home}/{name}")
        assert (answer.status_code, answer.content) == (200, data)
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
        found = find_artifact(workspace.context(), FindArtifact(run.id, name))
        assert (found.digest, found.size_bytes) == (hash_bytes(data), len(data))
    listed = http.get(base, params={"path": home}).json()["files"]
    assert listed == [
        {"path": "a.txt", "is_dir": False, "file_size": 3},
        {"path": "empty", "is_dir": False, "file_size": 0},
        {"path": "plots", "is_dir": True},
    ]
    assert http.get(base, params={"path": f"{home}/plots"}).json()["files"][0]["path"] == "Größe 1.png"
    for nothing in ("nothing", "a.txt"):
        assert http.get(base, params={"path": f"{home}/{nothing}"}).json() == {}
    assert http.get(base).json() == {}
    folder = http.get(f"{base}/{home}/plots")
    assert (folder.status_code, folder.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    for _ in range(2):
        answer = http.delete(f"{base}/{home}/plots")
        assert (answer.status_code, answer.content) == (200, b"{}")
    missing = http.get(f"{base}/{home}/plots/Größe 1.png")
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert missing.json()["message"].startswith("No such artifact: 'plots/Größe 1.png'")


def test_a_put_replaces(http, run, home):
    address = f"/api/2.0/mlflow-artifacts/artifacts/{home}/a"
    for data in (b"one", b"other"):
        http.put(address, content=data)
        assert http.get(address).content == data


def test_ids_have_to_be_there_and_belong_together(http, workspace, run, home):
    other = tracking.start_run(workspace.context(), tracking.StartRun("elsewhere", "late", "second"))
    second = tracking.start_run(workspace.context(), tracking.StartRun("default", "more", "third"))
    wrong = [
        f"{run.experiment_id}/{'0' * 32}/artifacts",
        f"{second.experiment_id}/{run.id}/artifacts",
        f"{run.experiment_id}/models/m-{run.id}/artifacts",
        f"{other.experiment_id}/{other.id}/artifacts",
        f"999999999999999999/{run.id}/artifacts",
    ]
    base = "/api/2.0/mlflow-artifacts/artifacts"
    for place in wrong:
        for answer in (
            http.put(f"{base}/{place}/a", content=b"1"),
            http.put(f"{base}/{place}/a", content=b"1" * 2_000_000),
            http.get(f"{base}/{place}/a"),
            http.delete(f"{base}/{place}/a"),
            http.get(base, params={"path": place}),
            http.post(f"/api/2.0/mlflow-artifacts/mpu/create/{place}", json={"path": "a", "num_parts": 1}),
        ):
            assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST"), answer.text
    mine = f"/projects/elsewhere{base}/{other.experiment_id}/{other.id}/artifacts/a"
    assert http.put(mine, content=b"1").status_code == 200
    assert http.get("/get-artifact", params={"run_id": other.id, "path": "a"}).status_code == 404
    assert http.get("/projects/elsewhere/get-artifact", params={"run_id": other.id, "path": "a"}).content == b"1"


def test_a_deleted_run_gives_and_does_not_take(http, workspace, run, home):
    address = f"/api/2.0/mlflow-artifacts/artifacts/{home}/a"
    http.put(address, content=b"1")
    tracking.delete_run(workspace.context(), tracking.DeleteRun(run.id))
    for answer in (http.put(address, content=b"2"), http.delete(address)):
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert "must be in the 'active' state. Current state is deleted" in answer.json()["message"]
    assert http.get(address).content == b"1"


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_spelling_of_a_path_leads_elsewhere(workspace, run, home, version, path):
    app = build_app(workspace)
    before = sorted(workspace.repository.objects._store.list())
    places = (home, f"{run.experiment_id}/models/m-{run.id}/artifacts", version)
    asked = [
        (method, f"{prefix}/mlflow-artifacts/artifacts/{place}/{path}")
        for method in ("GET", "PUT", "DELETE")
        for prefix in ("/api/2.0", "/ajax-api/2.0")
        for place in places
    ]
    asked += [
        ("GET", f"/api/2.0/mlflow-artifacts/artifacts/{path}"),
        ("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}"),
    ]
    asked += [("GET", f"/api/2.0/mlflow-artifacts/artifacts?path={place}/{path}") for place in places]
    asked += [
        ("GET", f"/get-artifact?run_id={run.id}&path={path}"),
        ("GET", f"/get-artifact?run_uuid=..%2f{run.id}&path={path}"),
        ("GET", f"/model-versions/get-artifact?name=late+model&version=1&path={path}"),
        ("GET", f"/model-versions/get-artifact?name={path}&version=1&path=MLmodel"),
        ("GET", f"/ajax-api/2.0/mlflow/logged-models/m-{run.id}/artifacts/files?artifact_file_path={path}"),
        ("GET", f"/api/2.0/mlflow/logged-models/m-{run.id}/artifacts/directories?artifact_directory_path={path}"),
        ("GET", f"/api/2.0/mlflow/artifacts/list?run_id={run.id}&path={path}"),
        ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run.id}&path={path}"),
    ]
    for method, address in asked:
        status, body = ask(app, method, address, b"evil")
        assert status in {400, 404}, (method, address, status, body)
        assert b"error_code" in body or b"nothing at this address" in body, (method, address, body)
    for verb in ("create", "complete", "abort"):
        body = {"path": "x", "num_parts": 1, "upload_id": "0" * 32, "parts": []}
        for place in places:
            address = f"/api/2.0/mlflow-artifacts/mpu/{verb}/{place}/{path}"
            assert ask(app, "POST", address, msgspec.json.encode(body))[0] in {400, 404}, address
        # A client's own name of its file is cut down to the last part, so that of these only those can stay unsafe.
        body["path"] = unquote_to_bytes(path).decode("utf-8", "replace")
        address = f"/api/2.0/mlflow-artifacts/mpu/{verb}/{home}"
        status, _ = ask(app, "POST", address, msgspec.json.encode(body))
        assert status in {200, 400, 404}
    kept = [one for one in workspace.repository.objects._store.list() if not one[0].startswith("uploads/")]
    assert sorted(kept) == before


def test_files_of_a_version_are_read_and_never_written(http, version):
    base = "/api/2.0/mlflow-artifacts/artifacts"
    assert http.get(f"{base}/{version}/data/weights").content == b"12345"
    assert http.get(base, params={"path": version}).json()["files"] == [
        {"path": "MLmodel", "is_dir": False, "file_size": 11},
        {"path": "data", "is_dir": True},
    ]
    assert http.get(base, params={"path": f"{version}/data"}).json()["files"][0]["path"] == "weights"
    for nothing in ("nothing", "MLmodel"):
        assert http.get(base, params={"path": f"{version}/{nothing}"}).json() == {}
    for path, status in (("nothing", 404), ("data", 400), ("data/weights/x", 404)):
        assert http.get(f"{base}/{version}/{path}").status_code == status
    assert http.get(f"{base}/{version[:-1]}9/MLmodel").status_code == 404
    assert http.get(f"{base}/registered-models/{'0' * 32}/1/MLmodel").status_code == 404
    for answer in (
        http.put(f"{base}/{version}/MLmodel", content=b"x"),
        http.put(f"{base}/{version}/new", content=b"x"),
        http.delete(f"{base}/{version}/MLmodel"),
        http.post(f"/api/2.0/mlflow-artifacts/mpu/create/{version}", json={"path": "x", "num_parts": 1}),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    page = "/model-versions/get-artifact"
    assert http.get(page, params={"name": "late model", "version": "1", "path": "MLmodel"}).content == b"flavors: {}"
    for query, status in (
        ({"name": "late model", "version": "1"}, 400),
        ({"name": "late model", "version": "x", "path": "MLmodel"}, 400),
        ({"name": "late model", "version": "2", "path": "MLmodel"}, 404),
        ({"name": "nobody", "version": "1", "path": "MLmodel"}, 404),
        ({"name": "late model", "version": "1", "path": "data"}, 400),
    ):
        assert http.get(page, params=query).status_code == status, query


def test_a_version_keeps_its_files_when_the_run_loses_them(http, workspace, run, home):
    base = "/api/2.0/mlflow-artifacts/artifacts"
    http.put(f"{base}/{home}/model/MLmodel", content=b"flavors: {}")
    ctx = workspace.context()
    tree = artifact_tree(ctx, ArtifactTreeOf(run.id, "model"))
    registry.register_model(ctx, registry.RegisterModel("default", "late", "ops@example.com"))
    registry.register_version(
        ctx, registry.RegisterVersion(project="default", model="late", artifact=tree.digest, format="mlflow")
    )
    http.delete(f"{base}/{home}")
    answer = http.get("/model-versions/get-artifact", params={"name": "late", "version": "1", "path": "MLmodel"})
    assert answer.content == b"flavors: {}"


def test_the_page_gets_and_puts_files_of_a_run(http, run, home):
    query = {"run_uuid": run.id, "path": "notes/a.html"}
    answer = http.post("/ajax-api/2.0/mlflow/upload-artifact", params=query, content=b"<b>hi</b>")
    assert answer.status_code == 200, answer.text
    for name in ("run_uuid", "run_id"):
        answer = http.get("/get-artifact", params={name: run.id, "path": "notes/a.html"})
        assert (answer.status_code, answer.content) == (200, b"<b>hi</b>")
        assert answer.headers["content-disposition"].startswith("attachment")
    large = http.post("/ajax-api/2.0/mlflow/upload-artifact", params=query, content=b"x" * ((10 << 20) + 1))
    assert large.status_code == 400
    lacking = http.get("/get-artifact", params={"run_id": run.id})
    assert (lacking.status_code, lacking.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "Missing value for required parameter 'path'" in lacking.json()["message"]
    listed = http.get("/api/2.0/mlflow/artifacts/list", params={"run_id": run.id, "path": "notes"}).json()
    assert listed == {
        "root_uri": f"mlflow-artifacts:/{home}",
        "files": [{"path": "notes/a.html", "is_dir": False, "file_size": 9}],
    }
    nothing = http.get("/api/2.0/mlflow/artifacts/list", params={"run_id": run.id, "path": "notes/a.html"})
    assert "files" not in nothing.json()


def test_a_large_file_comes_in_parts_to_this_hub(http, workspace, run, home):
    parts = [os.urandom(1 << 20), os.urandom(77)]
    base = "/api/2.0/mlflow-artifacts/mpu"
    local = "/home/ada/large.bin"
    made = http.post(f"{base}/create/{home}/sub", json={"path": local, "num_parts": 2}).json()
    etags = []
    for part, credential in zip(parts, made["credentials"], strict=True):
        assert credential["url"].startswith("http://127.0.0.1:7470/api/2.0/mlflow-artifacts/mpu/part/")
        for _ in range(2):
            answer = http.put(credential["url"], content=part, headers=credential["headers"])
        etags.append(answer.headers["etag"])
    assert etags == [f'"{hash_bytes(part)}"' for part in parts]
    given = [
        {"part_number": one["part_number"], "etag": etag, "url": one["url"]}
        for one, etag in zip(made["credentials"], etags, strict=True)
    ]
    body = {"path": local, "upload_id": made["upload_id"], "parts": given[::-1]}
    for wrong, status in (
        ({"parts": given[:0:-1]}, 400),
        ({"parts": [given[0] | {"etag": given[1]["etag"]}, given[1]]}, 400),
        ({"path": "other.bin"}, 400),
        ({"upload_id": "0" * 32}, 404),
    ):
        assert http.post(f"{base}/complete/{home}/sub", json=body | wrong).status_code == status, wrong
    answer = http.post(f"{base}/complete/{home}/sub", json=body)
    assert (answer.status_code, answer.content) == (200, b"{}")
    assert find_artifact(workspace.context(), FindArtifact(run.id, "sub/large.bin")).size_bytes == (1 << 20) + 77
    assert http.get(f"/api/2.0/mlflow-artifacts/artifacts/{home}/sub/large.bin").content == b"".join(parts)
    assert http.post(f"{base}/complete/{home}/sub", json=body).status_code == 404


def test_an_upload_in_parts_may_be_given_up(http, workspace, home):
    base = "/api/2.0/mlflow-artifacts/mpu"
    made = http.post(f"{base}/create/{home}", json={"path": "a", "num_parts": 1}).json()
    http.put(made["credentials"][0]["url"], content=b"1")
    body = {"path": "a", "upload_id": made["upload_id"]}
    assert http.post(f"{base}/abort/{home}", json=body | {"path": "b"}).status_code == 400
    assert http.post(f"{base}/abort/{home}", json=body).status_code == 200
    assert http.put(made["credentials"][0]["url"], content=b"1").status_code == 404
    assert not list(workspace.repository.objects._store.list("uploads"))
    for asked in ({"path": "a", "num_parts": 0}, {"path": "a", "num_parts": 10_001}, {"num_parts": 1}, {"path": ".."}):
        assert http.post(f"{base}/create/{home}", json=asked).status_code == 400
    other = http.post(f"{base}/create/{home}", json={"path": "a"}).json()["upload_id"]
    assert http.put(f"/projects/elsewhere{base}/part/{other}/1", content=b"1").status_code == 400


def test_what_a_hub_does_not_have_it_says_so_that_clients_go_another_way(http, home):
    answer = http.get(f"/api/2.0/mlflow-artifacts/presigned/{home}/a")
    assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    for which in ("upload", "download"):
        answer = http.post(f"/api/2.0/mlflow/artifacts/presigned-{which}-url", json={"run_id": "0" * 32, "path": "a"})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


CLIENT = """
import os, sys, pathlib, mlflow
mlflow.set_tracking_uri(sys.argv[1])
source, copy = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
mlflow.set_experiment("files")
with mlflow.start_run() as run:
    mlflow.log_artifacts(str(source), "data")
    mlflow.log_artifact(str(source / "a.txt"))
    mlflow.log_text("hello", "notes/hello.txt")
client = mlflow.MlflowClient()
print(sorted((f.path, f.is_dir, f.file_size) for f in client.list_artifacts(run.info.run_id)))
print(sorted((f.path, f.is_dir, f.file_size) for f in client.list_artifacts(run.info.run_id, "data")))
print(client.list_artifacts(run.info.run_id, "a.txt"))
mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="data", dst_path=str(copy))
print(mlflow.artifacts.load_text(run.info.artifact_uri + "/notes/hello.txt"))
from mlflow.artifacts import download_artifacts
os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = "1000000"
os.environ["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"] = str(5 << 20)
client.log_artifact(run.info.run_id, str(source / "large.bin"), "parts")
download_artifacts(run_id=run.info.run_id, artifact_path="parts", dst_path=str(copy))
"""


@pytest.mark.slow
def test_the_client_of_mlflow_gets_back_what_it_logged(blank, tmp_path):
    folder = shutil.copytree(blank, tmp_path / "live")
    source = tmp_path / "source"
    files = {"a.txt": b"one", "deep/Größe 1.bin": os.urandom(10_000), "large.bin": os.urandom(12 << 20), "empty": b""}
    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    hub = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        url = hub.stdout.readline().strip()
        asking = [sys.executable, "-c", CLIENT, url, str(source), str(tmp_path / "copy")]
        environment = {**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "PYTHONUTF8": "1"}
        client = subprocess.run(asking, capture_output=True, text=True, env=environment, timeout=110)
    finally:
        hub.kill()
        hub.communicate()
    assert client.returncode == 0, client.stderr[-3000:]
    said = [line for line in client.stdout.splitlines() if line[:1] in "[h"]
    rest = f"('data/empty', False, 0), ('data/large.bin', False, {12 << 20})"
    assert said == [
        "[('a.txt', False, 3), ('data', True, None), ('notes', True, None)]",
        f"[('data/a.txt', False, 3), ('data/deep', True, None), {rest}]",
        "[]",
        "hello",
    ]
    assert {name: (tmp_path / "copy" / "data" / name).read_bytes() for name in files} == files
    assert (tmp_path / "copy" / "parts" / "large.bin").read_bytes() == files["large.bin"]
