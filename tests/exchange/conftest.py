"""Stores that MLflow itself has written, and a project to bring them into."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

from undrift.exchange import Here

FILL = Path(__file__).with_name("mlflow_stores.py")


class Store(NamedTuple):
    """A store of MLflow, and what MLflow says of it."""

    uri: str
    folder: Path
    said: dict


def _environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")} | {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def _fill(uri, folder):
    answers = folder / "said.json"
    command = [sys.executable, "-W", "ignore", str(FILL), uri, str(answers)]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(answers.read_text())


@pytest.fixture(scope="session")
def file_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow_files")
    said = _fill("./mlruns", folder)
    for run in said["runs"].values():
        # MLflow writes the step of a point with a dataset, and reads it back as 0.
        for point, step in zip(run["histories"].get("auc", ()), (3, 4), strict=False):
            assert point[1] == 0
            point[1] = step
    return Store(str(folder / "mlruns"), folder, said)


@pytest.fixture(scope="session")
def sqlite_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow_sqlite")
    return Store(f"sqlite:///{folder}/mlflow.db", folder, _fill("sqlite:///mlflow.db", folder))


@pytest.fixture(scope="session")
def server_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow_server")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db"]
    command += ["--artifacts-destination", "kept", "--port", str(port), "--workers", "1"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=_environment(), stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 240
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()[-2000:]
                assert time.monotonic() < until
                time.sleep(0.2)
        yield Store(url, folder, _fill(url, folder))
    finally:
        # It has children of its own.
        os.killpg(server.pid, 15)
        server.wait(30)


@pytest.fixture
def here(repository):
    """Make the target of an import: a project of a context."""

    def make(ctx, project="flights"):
        return Here(lambda: ctx, project)

    return make
