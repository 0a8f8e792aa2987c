"""A file sent with MLflow's protocol that is cut in the middle: what was visible stays; sending it again is enough."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from undrift import tracking
from undrift.core.hashing import hash_bytes
from undrift.workspace import Workspace

RUN = (
    "import sys; from undrift.hub import run;"
    "run(sys.argv[1], port=int(sys.argv[2]), on_ready=lambda url: print(url, flush=True))"
)
BASE = "/api/2.0/mlflow-artifacts"


class Hub:
    """A hub in a process of its own, that can be killed and started again at the same port."""

    def __init__(self, folder, port):
        self.folder = folder
        self.port = port
        self.start()

    def start(self):
        command = [sys.executable, "-c", RUN, str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith("http://")

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        content = body if isinstance(body, bytes | None) else json.dumps(body)
        connection.request(method, path, content, {"content-type": "application/json"})
        answer = connection.getresponse()
        said = answer.status, answer.read(), answer.getheader("etag")
        connection.close()
        return said

    def kept(self):
        """The files in the store, and how many are on their way."""
        for _ in range(100):
            on_the_way = list((self.folder / "store" / ".tmp").glob("*"))
            if not on_the_way:
                break
            time.sleep(0.05)
        below = (self.folder / "store").rglob("*")
        return sorted(path.name for path in below if path.is_file() and path.name != ".lock")


@pytest.fixture
def hub(blank, tmp_path, unused_port):
    started = Hub(shutil.copytree(blank, tmp_path / "live"), unused_port)
    yield started
    started.kill()


@pytest.fixture
def home(hub):
    """Where a run of the hub has its files, one of them there already."""
    workspace = Workspace.open(hub.folder)
    run = tracking.start_run(workspace.context(), tracking.StartRun("default", "late", "first"))
    workspace.close()
    path = f"{run.experiment_id}/{run.id}/artifacts"
    assert hub.ask("PUT", f"{BASE}/artifacts/{path}/model.bin", b"before")[0] == 200
    return path


@pytest.mark.parametrize("how", ["length", "chunks", "bad chunk", "killed"])
def test_what_was_there_stays_until_all_has_arrived(hub, home, how):
    data = os.urandom(5 << 20)
    address = f"{BASE}/artifacts/{home}/model.bin"
    new = f"{BASE}/artifacts/{home}/new.bin"
    kept = hub.kept()
    for target in (address, new):
        with socket.create_connection(("127.0.0.1", hub.port), timeout=30) as connection:
            head = f"PUT {target} HTTP/1.1\r\nHost: localhost\r\n"
            if how in {"length", "killed"}:
                connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[: 4 << 20])
            else:
                head += "Transfer-Encoding: chunked\r\n\r\n"
                connection.sendall(f"{head}{4 << 20:x}\r\n".encode() + data[: 4 << 20])
                connection.sendall(b"\r\nnonsense\r\n" if how == "bad chunk" else b"\r\n")
            time.sleep(0.3)
            if how == "killed":
                hub.kill()
        if how == "killed":
            hub.start()
        listed = json.loads(hub.ask("GET", f"{BASE}/artifacts?path={home}")[1])["files"]
        assert [(one["path"], one["file_size"]) for one in listed] == [("model.bin", 6)]
        assert hub.ask("GET", address)[1] == b"before"
        assert hub.ask("GET", new)[0] == 404
    if how != "killed":
        assert hub.kept() == kept
    for target in (address, new):
        assert hub.ask("PUT", target, data)[0] == 200
        assert hub.ask("GET", target)[1] == data


def test_parts_that_had_arrived_before_a_kill_need_not_be_sent_again(hub, home):
    parts = [os.urandom(2 << 20), os.urandom(1 << 20), os.urandom(7)]
    asked = {"path": "/home/ada/model.bin", "num_parts": 3}
    made = json.loads(hub.ask("POST", f"{BASE}/mpu/create/{home}", asked)[1])
    at = [one["url"].partition(str(hub.port))[2] for one in made["credentials"]]
    etags = {0: hub.ask("PUT", at[0], parts[0])[2]}
    with socket.create_connection(("127.0.0.1", hub.port), timeout=30) as connection:
        head = f"PUT {at[1]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 20}\r\n\r\n"
        connection.sendall(head.encode() + parts[1][: 1 << 19])
        time.sleep(0.3)
        hub.kill()
    hub.start()

    def complete():
        given = [{"part_number": place + 1, "etag": etags.get(place, '"x"'), "url": at[place]} for place in range(3)]
        body = {"path": asked["path"], "upload_id": made["upload_id"], "parts": given}
        return hub.ask("POST", f"{BASE}/mpu/complete/{home}", body)[0]

    etags[1] = f'"{hash_bytes(parts[1])}"'
    etags[2] = f'"{hash_bytes(parts[2])}"'
    assert complete() == 400
    assert hub.ask("GET", f"{BASE}/artifacts/{home}/model.bin")[1] == b"before"
    for place in (1, 2):
        assert hub.ask("PUT", at[place], parts[place])[2] == etags[place]
    assert complete() == 200
    assert hub.ask("GET", f"{BASE}/artifacts/{home}/model.bin")[1] == b"".join(parts)
