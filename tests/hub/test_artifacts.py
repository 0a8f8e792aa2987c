"""Bytes through the hub: what comes up is verified and whole or not there, what goes down is as it was."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from litestar.testing import TestClient

from undrift import tracking
from undrift.blobs import FRAME_HEAD, frame
from undrift.core.hashing import hash_bytes
from undrift.hub import build_app, guard
from undrift.tracking.artifacts import PutArtifact, PutArtifacts, put_artifacts
from undrift.workspace import Workspace

RUN = "import sys; from undrift.hub import run; run(sys.argv[1], port=0, on_ready=lambda url: print(url, flush=True))"
# Every way to write a path that leads elsewhere, as it stands in an address.
TRAVERSALS = [
    "../../../etc/passwd",
    "..%2f..%2fetc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "%25252e%25252e/etc",
    "..%5c..%5cetc",
    "..%255c..%255cetc",
    "a/../../etc",
    "a/./b",
    "a//b",
    "%2fetc/passwd",
    "/etc/passwd",
    "a/%2e%2e/b",
    "C:%5cwindows",
    "C:/windows",
    "file:///etc/passwd",
    "a%23b",
    "a%3fb",
    "a%00b",
    "a%0ab",
    "%c0%ae%c0%ae/etc",
    "a%ff",
    "e%cc%81",
    "a/..",
    "..",
    ".",
    "a%2f",
]


@pytest.fixture
def run(workspace):
    return tracking.start_run(workspace.context(), tracking.StartRun("default", "late", "first")).id


def put(workspace, root, files):
    ctx = workspace.context()
    stored = {path: ctx.repository.objects.put(data) for path, data in files.items()}
    given = tuple(PutArtifact(path, stored[path], len(data)) for path, data in files.items())
    put_artifacts(ctx, PutArtifacts(root, given))


def frames(*data):
    return b"".join(frame(hash_bytes(one), one) for one in data)


def keys(workspace):
    return sorted(key for key, _ in workspace.repository.objects._store.list())


# -- up ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 100_000, (3 << 20) + 1, 20 << 20])
def test_an_object_arrives_as_it_was_sent(http, workspace, size):
    data = os.urandom(size)
    for _ in range(2):
        answer = http.put(f"/api/v1/objects/{hash_bytes(data)}", content=data)
        assert (answer.status_code, answer.json()) == (200, {"digest": hash_bytes(data), "size_bytes": size})
    assert workspace.repository.objects.get(hash_bytes(data)) == data


def test_bytes_that_are_not_what_was_said_are_refused(http, workspace):
    for content in (b"other", b"x" * 3_000_000):
        answer = http.put(f"/api/v1/objects/{hash_bytes(b'this')}", content=content)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    answer = http.post("/api/v1/objects", content=frame(hash_bytes(b"this"), b"other"))
    assert answer.status_code == 400
    assert workspace.repository.objects.size(hash_bytes(b"this")) is None


@pytest.mark.parametrize("digest", ["x", "A" * 64, "0" * 63, "..%2f..%2fx", "0" * 64 + "%0a"])
def test_what_is_no_digest_is_refused(http, workspace, digest):
    before = keys(workspace)
    assert http.put(f"/api/v1/objects/{digest}", content=b"x").status_code in {400, 404}
    assert keys(workspace) == before


def test_many_small_objects_arrive_in_one_body(http, workspace):
    data = [b"%d" % n * (n % 300) for n in range(1, 2000)]
    before = len(keys(workspace))
    answer = http.post("/api/v1/objects", content=frames(*data))
    assert (answer.status_code, answer.json()) == (200, {"objects": 1999})
    assert [workspace.repository.objects.get(hash_bytes(one)) for one in data] == data
    assert len(keys(workspace)) - before <= 8
    missing = http.post("/api/v1/objects/missing", json={"digests": [hash_bytes(data[0]), "0" * 64]})
    assert missing.json() == ["0" * 64]
    assert http.post("/api/v1/objects/missing", json={"digests": [hash_bytes(data[0])]}).json() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (frames(b"one", b"two")[:-1], 400),
        (frames(b"one") + b"x", 400),
        (FRAME_HEAD.pack(bytes(32), 2**63), 413),
        (FRAME_HEAD.pack(bytes(32), (1 << 20) + 1), 413),
        (frames(b"") * 10_001, 413),
    ],
    ids=["cut", "more", "huge", "large", "many"],
)
def test_frames_that_are_not_whole_or_too_large_are_refused(http, workspace, body, status):
    answer = http.post("/api/v1/objects", content=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["next_step"]


def test_a_large_object_comes_in_parts_that_need_not_be_sent_again(http, workspace):
    parts = [os.urandom(3 << 20), os.urandom(100), os.urandom(5)]
    whole = hash_bytes(b"".join(parts))
    begun = http.post("/api/v1/uploads", json={"digest": whole}).json()
    assert (begun["id"], begun["complete"], begun["parts"]) == (whole, False, [])
    for number in (3, 1):
        answer = http.put(f"/api/v1/uploads/{whole}/{number}", content=parts[number - 1])
        assert answer.headers["etag"] == f'"{hash_bytes(parts[number - 1])}"'
    digests = [hash_bytes(part) for part in parts]
    lacking = http.post(f"/api/v1/uploads/{whole}/complete", json={"digest": whole, "parts": digests})
    assert (lacking.status_code, lacking.json()["details"]) == (400, {"part": 2})
    again = http.post("/api/v1/uploads", json={"digest": whole}).json()
    assert [(part["number"], part["digest"]) for part in again["parts"]] == [(1, digests[0]), (3, digests[2])]
    assert http.get(f"/api/v1/uploads/{whole}").json()["parts"] == again["parts"]
    http.put(f"/api/v1/uploads/{whole}/2", content=parts[1])
    for _ in range(2):
        answer = http.post(f"/api/v1/uploads/{whole}/complete", json={"digest": whole, "parts": digests})
        assert answer.json() == {"digest": whole, "size_bytes": sum(map(len, parts))}
    assert http.post("/api/v1/uploads", json={"digest": whole}).json()["complete"] is True
    assert workspace.repository.objects.get(whole) == b"".join(parts)
    assert not [key for key in keys(workspace) if key.startswith("uploads/")]


def test_an_upload_may_be_given_up_and_is_swept_after_a_day(http, workspace):
    uploads = workspace.repository.uploads
    now = datetime.now(UTC)
    for name, age in (("0" * 32, 25), ("1" * 32, 23)):
        uploads.begin(name, "", now - timedelta(hours=age))
        uploads.put_part(name, 1, iter([b"1"]))
    mine = http.post("/api/v1/uploads", json={}).json()["id"]
    assert http.get("/api/v1/uploads/" + "0" * 32).status_code == 404
    assert http.get("/api/v1/uploads/" + "1" * 32).status_code == 200
    assert http.delete(f"/api/v1/uploads/{mine}").status_code == 200
    assert http.put(f"/api/v1/uploads/{mine}/1", content=b"x").status_code == 404
    for name in ("x", "..", "%2e%2e", "A" * 32):
        assert http.put(f"/api/v1/uploads/{name}/1", content=b"x").status_code in {400, 404}


# -- down -------------------------------------------------------------------------------------------------------------


def test_a_file_comes_as_an_attachment_that_no_browser_shows(http, workspace, run):
    names = {
        "page.html": 'attachment; filename="page.html"',
        "a/Größe 1.svg": "attachment; filename=\"Gr__e 1.svg\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%201.svg",
        'a"b;c.js': "attachment; filename=\"a_b;c.js\"; filename*=UTF-8''a%22b%3Bc.js",
        "MLmodel": 'attachment; filename="MLmodel"',
    }
    put(workspace, run, dict.fromkeys(names, b"<script>alert(1)</script>"))
    for name, disposition in names.items():
        answer = http.get(f"/api/v1/artifacts/{run}/{name}")
        assert (answer.status_code, answer.content) == (200, b"<script>alert(1)</script>")
        assert answer.headers["content-disposition"] == disposition
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers.get_list("content-security-policy")
        assert answer.headers["content-length"] == "25"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    head = http.head(f"/api/v1/artifacts/{run}/MLmodel")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "25")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5-", slice(5, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=2097152-2097160", slice(2097152, 2097161)),
        ("bytes=3000000-9999999999", slice(3000000, None)),
        ("bytes=-9999999999", slice(0, None)),
    ],
)
def test_a_stretch_of_a_file_is_given_alone(http, workspace, run, wanted, expected):
    data = os.urandom(3_200_000)
    put(workspace, run, {"large": data})
    answer = http.get(f"/api/v1/artifacts/{run}/large", headers={"range": wanted})
    assert (answer.status_code, answer.content) == (206, data[expected])
    start, end, _ = expected.indices(len(data))
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(data)}"


def test_a_range_that_cannot_be_is_refused_or_passed_over(http, workspace, run):
    put(workspace, run, {"a": b"0123456789"})
    address = f"/api/v1/artifacts/{run}/a"
    for wanted in ("bytes=10-", "bytes=-0", "bytes=99-100"):
        answer = http.get(address, headers={"range": wanted})
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")
    for wanted in ("bytes=5-2", "bytes=", "bytes=-", "lines=1-2", "bytes=1-2,4-5", "bytes=x-y"):
        assert http.get(address, headers={"range": wanted}).status_code == 200
    tag = http.get(address).headers["etag"]
    assert http.get(address, headers={"range": "bytes=1-2", "if-range": tag}).content == b"12"
    assert http.get(address, headers={"range": "bytes=1-2", "if-range": '"x"'}).content == b"0123456789"
    assert http.get(address, headers={"if-none-match": tag}).status_code == 304


def test_many_small_files_come_in_one_answer(http, workspace, run):
    files = {f"f/{n}": b"%d" % n * n for n in range(600)}
    put(workspace, run, files)
    asked = list(files)[::-1]
    answer = http.post(f"/api/v1/artifacts/{run}", json={"paths": asked})
    assert answer.content == frames(*(files[path] for path in asked))
    for paths, status in ((["f/1", "nothing"], 404), (["../x"], 400), (["f/1"] * 1001, 413)):
        assert http.post(f"/api/v1/artifacts/{run}", json={"paths": paths}).status_code == status


def test_an_altered_object_does_not_arrive(http, workspace, run):
    put(workspace, run, {"small": b"small bytes", "large": b"x" * 3_000_000})
    store = workspace.repository.objects._store
    for data in (b"small bytes", b"x" * 3_000_000):
        digest = hash_bytes(data)
        store.write(f"objects/{digest[:2]}/{digest[2:]}", b"y" + data[1:])
    answer = http.get(f"/api/v1/artifacts/{run}/small")
    assert (answer.status_code, answer.json()["code"]) == (500, "corrupt")
    with pytest.raises(Exception, match="was altered"):
        http.get(f"/api/v1/artifacts/{run}/large")


# -- paths and limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_spelling_of_a_path_leads_elsewhere(workspace, run, path):
    put(workspace, run, {"a": b"1", "etc/passwd": b"2", "b": b"3"})
    # The client must not tidy the path up, so it is put into the request as it is.
    app = build_app(workspace)
    for address in (f"/api/v1/artifacts/{run}/{path}", f"/api/v1/artifacts/..%2f{run}/{path}"):
        status, body = ask(app, "GET", address)
        assert status in {400, 404}, (address, body)
        assert b"root:" not in body
    status, body = ask(app, "POST", f"/api/v1/artifacts/{run}", msgspec.json.encode({"paths": [path]}))
    assert status in {400, 404}, body


def ask(app, method, address, body=b""):
    """Ask the application under an address that nobody has tidied up."""
    from urllib.parse import unquote_to_bytes

    raw, _, query = address.partition("?")
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    async def go():
        await app.asgi_handler(
            {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": method,
                "scheme": "http",
                "path": unquote_to_bytes(raw).decode("utf-8", "replace"),
                "raw_path": raw.encode(),
                "query_string": query.encode(),
                "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 2),
                "root_path": "",
                "state": {},
                "app": app,
                "litestar_app": app,
            },
            receive,
            send,
        )

    import anyio

    anyio.run(go)
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])


def test_an_upload_may_be_larger_than_other_bodies_but_not_than_its_limit(workspace):
    app = build_app(workspace, upload_limit=20 << 20)
    with TestClient(app, base_url="http://127.0.0.1:7470") as http:
        data = os.urandom(19 << 20)
        assert http.put(f"/api/v1/objects/{hash_bytes(data)}", content=data).status_code == 200
        more = os.urandom((20 << 20) + 1)
        before = keys(workspace)
        address = f"/api/v1/objects/{hash_bytes(more)}"
        assert http.put(address, content=more).status_code == 413
        pieces = (more[at : at + 65536] for at in range(0, len(more), 65536))
        answer = http.put(address, content=pieces)  # no Content-Length: sent in chunks
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert http.post("/api/v1/uploads", content=b" " * (9 << 20)).status_code == 413
        assert http.post("/api/v1/registry/register_model", content=b" " * (9 << 20)).status_code == 413
        assert keys(workspace) == before


def test_an_upload_leaves_room_on_the_disk(workspace, monkeypatch):
    free = [(256 << 20) + 1000]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[0]))
    with TestClient(build_app(workspace), base_url="http://127.0.0.1:7470") as http:
        address = f"/api/v1/objects/{hash_bytes(b'x' * 1000)}"
        assert http.put(address, content=b"x" * 1001).status_code == 413
        assert http.put(address, content=b"x" * 1000).status_code == 200
        free[0] = 256 << 20
        answer = http.put(address, content=b"x" * 1000)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "full" in answer.json()["detail"]


def test_an_unknown_address_or_method_is_named(http):
    assert http.get("/api/v1/objects/x/y").status_code == 404
    assert http.get("/api/v1/objects").status_code == 405
    assert http.put("/api/v1/objectsx").status_code in {404, 405}
    assert "trace-id" in http.get("/api/v1/uploads/x").headers


# -- a hub in a process of its own ------------------------------------------------------------------------------------


class Hub:
    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rpartition(":")[2])

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) << 10


@pytest.fixture
def hub(blank, tmp_path):
    started = Hub(shutil.copytree(blank, tmp_path / "live"))
    yield started
    started.process.kill()
    started.process.communicate()


def files_below(folder):
    return sorted(path.name for path in (folder / "store").rglob("*") if path.is_file() and path.name != ".lock")


def stored_until_quiet(hub):
    for _ in range(100):
        if not list((hub.folder / "store" / ".tmp").iterdir()):
            break
        time.sleep(0.05)
    return files_below(hub.folder)


@pytest.mark.parametrize("how", ["length", "chunks", "bad chunk", "killed"])
def test_an_upload_that_is_cut_leaves_nothing(hub, how):
    data = os.urandom(5 << 20)
    before = files_below(hub.folder)
    with hub.connect() as connection:
        head = f"PUT /api/v1/objects/{hash_bytes(data)} HTTP/1.1\r\nHost: localhost\r\n"
        if how in {"length", "killed"}:
            connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[: 4 << 20])
        else:
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n{4 << 20:x}\r\n".encode() + data[: 4 << 20])
            connection.sendall(b"\r\nnonsense\r\n" if how == "bad chunk" else b"\r\n")
        time.sleep(0.3)
        if how == "killed":
            hub.process.kill()
            hub.process.wait()
    if how == "killed":
        with_workspace = Workspace.open(hub.folder)
        assert with_workspace.repository.objects.size(hash_bytes(data)) is None
        with_workspace.close()
    else:
        assert stored_until_quiet(hub) == before


def test_a_large_upload_that_is_refused_hears_why(hub):
    for address in ("/api/v1/objects/x", f"/api/2.0/mlflow-artifacts/artifacts/1/{'0' * 32}/artifacts/a"):
        with hub.connect() as connection:
            size = 30 << 20
            connection.sendall(f"PUT {address} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
            for _ in range(30):
                connection.sendall(bytes(1 << 20))
            assert connection.recv(100).startswith(b"HTTP/1.1 40")


def test_a_slow_upload_is_taken_as_long_as_bytes_arrive(hub, monkeypatch):
    with hub.connect() as connection:
        data = b"0123456789"
        head = f"PUT /api/v1/objects/{hash_bytes(data)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode())
        for byte in data:
            time.sleep(0.05)
            connection.sendall(bytes([byte]))
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_body_of_an_upload_has_time_for_each_piece_and_others_have_it_for_all(monkeypatch):
    import asyncio

    monkeypatch.setattr(guard, "_BODY_S", 0.6)

    stub = SimpleNamespace(stopping=False, waiting=set())

    async def receive():
        await asyncio.sleep(0.25)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def take(upload, pieces):
        body = guard._Body(receive, stub, upload)
        for _ in range(pieces):
            await body()

    asyncio.run(take(lambda _: 1000, 5))
    with pytest.raises(guard.SlowBody):
        asyncio.run(take(None, 5))


def test_the_memory_of_the_hub_does_not_follow_the_size_of_what_passes(hub):
    size = 300 << 20
    piece = os.urandom(1 << 20)
    data_digest = _digest_of(piece, 300)
    workspace = Workspace.open(hub.folder)
    run = tracking.start_run(workspace.context(), tracking.StartRun("default", "late", "first")).id
    with hub.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(1000)
    before = hub.memory()
    most = 0
    with hub.connect() as connection:
        head = f"PUT /api/v1/objects/{data_digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(300):
            connection.sendall(piece)
            most = max(most, hub.memory())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    put_artifacts(workspace.context(), PutArtifacts(run, (PutArtifact("large", data_digest, size),)))
    workspace.close()
    with hub.connect() as connection:
        connection.sendall(
            f"GET /api/v1/artifacts/{run}/large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        got = 0
        while received := connection.recv(1 << 20):
            got += len(received)
            most = max(most, hub.memory())
    assert got > size
    assert most - before < 48 << 20


def _digest_of(piece, times):
    from blake3 import blake3

    hasher = blake3()
    for _ in range(times):
        hasher.update(piece)
    return hasher.hexdigest()
