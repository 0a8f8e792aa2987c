"""Hubs as processes, sixteen writers that ask them, and what is held against what those were told."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest
import sqlalchemy as sa

from undrift.processes import free_port
from undrift.tracking.points import merged, unpack
from undrift.workspace import Settings, Workspace

RUN = (
    "import sys; from undrift.hub import run;"
    "run(sys.argv[1], port=int(sys.argv[2]), on_ready=lambda url: print(url, flush=True))"
)
WRITERS = 16


class Hub:
    """A hub in a process of its own, on a port that stays the same when it is started again."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.start()

    def start(self):
        command = [sys.executable, "-c", RUN, str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if not self.process.stdout.readline().startswith("http://"):
            self.kill()
            raise AssertionError("the hub did not start")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


class Writer(threading.Thread):
    """Makes runs and logs to them, and repeats a request with the same key until it has been answered."""

    def __init__(self, port, number, stopping):
        super().__init__(daemon=True)
        self.port = port
        self.number = number
        self.stopping = stopping
        self.acknowledged = {}
        self.refused = []
        self.repeated = 0
        self._connection = None

    def run(self):
        speak = self._in_mlflow if self.number % 2 else self._natively
        for count in range(10_000):
            if self.stopping.is_set():
                break
            name = f"w{self.number}-{count}"
            points = [(step, 1_700_000_000_000 + step, step / 7) for step in range(5)]
            if not speak(name, points):
                break
        self._hang_up()

    def _hang_up(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _natively(self, name, points):
        run = self._ask(
            "/api/v1/tracking/start_run", {"project": "default", "experiment": "storm", "name": name}, key=name
        )
        if run is None:
            return False
        series = [{"name": "loss", "steps": [p[0]], "times_ms": [p[1]], "values": [p[2]]} for p in points]
        body = {"run_id": run["id"], "series": series, "parameters": {"name": name}}
        if self._ask("/api/v1/tracking/log_run", body, key=name + "/log") is None and self.stopping.is_set():
            return False
        self.acknowledged[name] = (run["id"], points)
        return True

    def _in_mlflow(self, name, points):
        asked = {"experiment_id": self.experiment_id, "run_name": name, "start_time": 1}
        answer = self._ask("/api/2.0/mlflow/runs/create", asked, key=name)
        if answer is None:
            return False
        run_id = answer["run"]["info"]["run_id"]
        metrics = [{"key": "loss", "value": p[2], "timestamp": p[1], "step": p[0]} for p in points]
        body = {"run_id": run_id, "metrics": metrics, "params": [{"key": "name", "value": name}]}
        if self._ask("/api/2.0/mlflow/runs/log-batch", body) is None:
            return False
        self.acknowledged[name] = (run_id, points)
        return True

    def _ask(self, path, body, key=None):
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        tries = 0
        while True:
            tries += 1
            self.repeated += tries > 1
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                self._connection.request("POST", path, json.dumps(body), headers)
                answer = self._connection.getresponse()
                said = answer.read()
                if answer.status == 200:
                    return json.loads(said) or {}
                if answer.status not in {500, 503}:
                    self.refused.append((path, answer.status, said))
                    return None
            except (OSError, http.client.HTTPException):
                self._hang_up()
            if self.stopping.is_set():
                return None
            time.sleep(0.02)


@pytest.fixture(params=["sqlite", "postgresql"])
def folder(request, blank, tmp_path):
    """The folder of a workspace on either engine."""
    if request.param == "sqlite":
        yield shutil.copytree(blank, tmp_path / "workspace")
        return
    url = sa.make_url(request.getfixturevalue("postgres_url"))
    admin = sa.create_engine(
        url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    # Named as the session's own, with the process at the end: who comes later knows whether it is still needed.
    name = f"undrift_test_{uuid.uuid4().hex[:8]}_{os.getpid()}"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    settings = Settings(database=url.set(database=name).render_as_string(hide_password=False))
    Workspace.open(tmp_path / "workspace", create=True, settings=settings).close()
    yield tmp_path / "workspace"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def storm(folder):
    """Start so many hubs on the workspace, and writers that ask one of them each."""
    hubs = []
    stopping = threading.Event()
    writers = []

    def start(count=1):
        hubs.extend(Hub(folder) for _ in range(count))
        connection = http.client.HTTPConnection("127.0.0.1", hubs[0].port, timeout=20)
        body = json.dumps({"name": "storm"})
        connection.request("POST", "/api/2.0/mlflow/experiments/create", body, {"Content-Type": "application/json"})
        experiment_id = json.loads(connection.getresponse().read())["experiment_id"]
        connection.close()
        for number in range(WRITERS):
            writer = Writer(hubs[number % count].port, number, stopping)
            writer.experiment_id = experiment_id
            writers.append(writer)
            writer.start()
        return hubs, writers

    def stop():
        stopping.set()
        for writer in writers:
            writer.join(40)
            assert not writer.is_alive()

    start.stop = stop
    yield start
    stopping.set()
    for hub in hubs:
        hub.kill()


@pytest.fixture
def examine(folder):
    """Hold what is kept against what was acknowledged."""
    return lambda writers: _examine(folder, writers)


def _examine(folder, writers):
    assert [writer.refused for writer in writers if writer.refused] == []
    workspace = Workspace.open(folder)
    with workspace.database.read() as tx:
        named = tx.execute(sa.text("SELECT name, id FROM runs")).all()
        started = tx.execute(sa.text("SELECT subject FROM events WHERE type = 'run.started'")).scalars().all()
        parameters = dict(tx.execute(sa.text("SELECT run_id, value FROM run_parameters WHERE name = 'name'")).all())
    ids = dict(named)
    assert len(ids) == len(named), "a run is there twice"
    assert sorted(started) == sorted(f"runs/{id_}" for id_ in ids.values()), "an event is missing, or there twice"
    acknowledged = {name: one for writer in writers for name, one in writer.acknowledged.items()}
    assert len(acknowledged) > WRITERS
    with workspace.database.read() as tx:
        chunks = tx.execute(sa.text("SELECT run_id, points FROM metric_chunks WHERE name = 'loss'")).all()
    written = {}
    for run_id, points in chunks:
        written.setdefault(run_id, []).append(points)
    for name, (run_id, points) in acknowledged.items():
        assert ids.get(name) == run_id, f"the acknowledged run {name} is lost"
        assert parameters.get(run_id) == name
        # As every reader of a history does: an exact repeat of a point counts once.
        found = [(step, at, value) for at, step, value in merged(unpack(written[run_id])).tolist()]
        assert found == points, f"points of the acknowledged run {name} are lost, or there twice"
    with workspace.database.read() as tx:
        assert not tx.execute(sa.text("SELECT 1 FROM events GROUP BY id HAVING count(*) > 1")).all()
    workspace.close()
