"""Tracking: undrift and MLflow side by side, on one machine, in one run, each acknowledged write on disk.

Usage: tracking.py SCRATCH [--peer VENV] [--database URL] [--parts start,rest,…] [--seconds 3]

SCRATCH: an empty folder on the disk to measure. VENV: an environment with mlflow 3.17 (and psycopg2-binary for
PostgreSQL); without it only undrift is measured. URL: a PostgreSQL server where databases may be made; SQLite when
left out. Needs wrk. Each figure is a line of JSON with the load of the machine at that moment.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from figures import figure

HERE = Path(__file__).parent
FILTER = "metrics.acc > 0.9 and params.model = 'x'"
RUNS = 100_000
NAMES = 10_000


def seconds(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def tree(pid):
    import psutil

    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


class Server:
    """A server in processes of its own; `argv` gets the port."""

    def __init__(self, argv, log, env=None):
        self.argv, self.log = argv, log
        # Bytecode on disk for both: an installation has it.
        self.env = {name: value for name, value in (env or os.environ).items() if name != "PYTHONDONTWRITEBYTECODE"}

    def start(self):
        with socket_port() as port:
            self.port = port
        self.url = f"http://127.0.0.1:{self.port}"
        begun = time.perf_counter()
        with self.log.open("ab") as log:
            argv = [part.format(port=self.port) for part in self.argv]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env=self.env)
        while True:
            if self.process.poll() is not None:
                raise SystemExit(self.log.read_text()[-2000:])
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                time.sleep(0.005)
        return time.perf_counter() - begun

    def memory_mb(self):
        processes = tree(self.process.pid)
        return sum(process.memory_info().rss for process in processes) / 1e6, len(processes)

    def stop(self):
        import psutil

        processes = tree(self.process.pid)
        self.process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=10)
        for process in alive:
            process.kill()
        self.process.wait()

    def post(self, path, body):
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read())


class socket_port:  # noqa: N801 - used as a function
    def __enter__(self):
        import socket

        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        return self.socket.getsockname()[1]

    def __exit__(self, *_):
        self.socket.close()


def measure_start(name, server):
    took = []
    for _ in range(3):
        took.append(server.start())
        time.sleep(3)
        rss, count = server.memory_mb()
        server.stop()
    figure(f"{name}.start", took, "s")
    figure(f"{name}.memory_at_rest", [rss], "MB", processes=count)


def measure_rest(name, server, per_s):
    experiment = server.post("experiments/create", {"name": f"rest {time.time()}"})["experiment_id"]
    base = 0
    for op, unit, scale, clients in (
        ("create", "requests/s", 1, (1, 16)),
        ("metric", "requests/s", 1, (1, 16)),
        ("batch", "points/s", 1000, (1, 4, 16)),
    ):
        for count in clients:
            rows = []
            for _ in range(3):
                runs = [
                    server.post("runs/create", {"experiment_id": experiment, "start_time": 1})["run"]["info"]["run_id"]
                    for _ in range(16)
                ]
                base += 1_000_000
                env = os.environ | {"OP": op, "EXPERIMENT": experiment, "RUNS": ",".join(runs), "BASE": str(base)}
                argv = ["wrk", "-t1", f"-c{count}", f"-d{per_s}s", "--timeout", "30s", "-s", HERE / "tracking.lua"]
                said = subprocess.run([*argv, server.url], env=env, capture_output=True, text=True, check=True).stdout
                rows.append(json.loads(said.splitlines()[-1]))
            figure(
                f"{name}.rest.{op}.{count}_clients",
                [row["per_s"] * scale for row in rows],
                unit,
                p50_ms=round(sorted(row["p50_ms"] for row in rows)[1], 3),
                p99_ms=round(sorted(row["p99_ms"] for row in rows)[1], 3),
                errors=sum(row["errors"] for row in rows),
            )
    figure(f"{name}.memory_after_load", [server.memory_mb()[0]], "MB")


def rows_of_runs(experiment):
    """The same hundred thousand runs for both: one metric and nine of ten thousand, ten parameters."""
    choose = random.Random(7)
    for number in range(RUNS):
        run = f"{choose.getrandbits(128):032x}"
        names = {"acc", *(f"m{choose.randrange(NAMES)}" for _ in range(9))}
        metrics = [(name, choose.random()) for name in sorted(names)]
        values = [("model", choose.choice("xyzw")), *((f"p{j}", str(choose.randrange(1000))) for j in range(9))]
        yield number, run, experiment, metrics, values


def fill_undrift(folder, experiment):
    import sqlalchemy as sa

    from undrift.tracking import tables
    from undrift.workspace import Workspace

    workspace = Workspace.open(folder)
    epoch = datetime(2024, 1, 1, tzinfo=UTC)
    source = {"model_id": "", "dataset_name": "", "dataset_digest": ""}
    batch = {tables.runs: [], tables.run_metrics: [], tables.run_parameters: []}

    def flush():
        with workspace.database.begin() as tx:
            for table, rows in batch.items():
                tx.execute(sa.insert(table), rows)
                rows.clear()

    for number, run, experiment_id, metrics, values in rows_of_runs(int(experiment)):
        batch[tables.runs].append(
            {
                "id": run,
                "project": "default",
                "experiment_id": experiment_id,
                "name": f"run{number}",
                "kind": "training",
                "status": "finished",
                "state": "active",
                "started_at": epoch + timedelta(seconds=number),
                "ended_at": None,
                "actor": "u",
                "user": "u",
                "parent_id": None,
                "error": "",
                "deleted_at": None,
            }
        )
        own = {"run_id": run, "experiment_id": experiment_id}
        batch[tables.run_metrics].extend(
            own | source | {"name": name, "value": value, "step": 9, "time_ms": 1_700_000_000_000 + number}
            for name, value in metrics
        )
        batch[tables.run_parameters].extend(
            own | {"name": name, "value": value, "is_json": False, "head": value} for name, value in values
        )
        if number % 5000 == 4999:
            flush()
    if workspace.settings.database:
        with workspace.database.begin() as tx:
            tx.exec_driver_sql("ANALYZE")
    workspace.close()


def fill_mlflow(database, experiment):
    runs, metrics, params = [], [], []
    for number, run, experiment_id, some, values in rows_of_runs(int(experiment)):
        at = 1_704_067_200_000 + number * 1000
        uri = f"mlflow-artifacts:/{experiment_id}/{run}/artifacts"
        facts = (run, f"run{number}", "UNKNOWN", "", "", "u", "FINISHED", at, None, None, "", "active", uri)
        runs.append((*facts, experiment_id))
        metrics.extend((name, value, 1_700_000_000_000 + number, 9, False, run) for name, value in some)
        params.extend((name, value, run) for name, value in values)
    columns = {
        "runs": "run_uuid,name,source_type,source_name,entry_point_name,user_id,status,start_time,end_time,"
        "deleted_time,source_version,lifecycle_stage,artifact_uri,experiment_id",
        "latest_metrics": "key,value,timestamp,step,is_nan,run_uuid",
        "params": "key,value,run_uuid",
    }
    tables = zip(columns.items(), (runs, metrics, params), strict=True)
    if database.startswith("sqlite"):
        with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
            for (table, names), rows in tables:
                marks = ",".join("?" * len(rows[0]))
                connection.executemany(f"insert into {table}({names}) values({marks})", rows)
            connection.execute("analyze")
        connection.close()
        return
    import psycopg

    with psycopg.connect(database.replace("+psycopg2", "")) as connection:
        for (table, names), rows in tables:
            with connection.cursor().copy(f"copy {table}({names}) from stdin") as copy:
                for row in rows:
                    copy.write_row(row)
        connection.execute("analyze")


def fill_history(server, target, run):
    """A million points: through the protocol for undrift; by SQL for MLflow, where the protocol takes many minutes."""
    if target is None:
        for begin in range(0, 1_000_000, 1000):
            points = [
                {"key": "loss", "value": 1 / (i + 1), "timestamp": 1_700_000_000_000 + i, "step": i}
                for i in range(begin, begin + 1000)
            ]
            server.post("runs/log-batch", {"run_id": run, "metrics": points})
        return
    columns = "key,value,timestamp,run_uuid,step,is_nan"
    rows = (("loss", 1 / (i + 1), 1_700_000_000_000 + i, run, i, False) for i in range(1_000_000))
    if target.startswith("sqlite"):
        with sqlite3.connect(target.removeprefix("sqlite:///")) as connection:
            connection.executemany(f"insert into metrics({columns}) values(?,?,?,?,?,?)", rows)
        connection.close()
        return
    import psycopg

    connection = psycopg.connect(target.replace("+psycopg2", ""))
    with connection, connection.cursor().copy(f"copy metrics({columns}) from stdin") as copy:
        for row in rows:
            copy.write_row(row)


def measure_search(name, server, experiment):
    body = {"experiment_ids": [experiment], "filter": FILTER, "order_by": ["metrics.acc DESC"], "max_results": 100}
    found = []

    def ask(asked):
        found.append(len(server.post("runs/search", asked).get("runs", [])))

    ask(body)
    figure(f"{name}.search_100k.top_100", [seconds(lambda: ask(body)) for _ in range(5)], "s", rows=found[-1])
    plain = {"experiment_ids": [experiment], "max_results": 100}
    figure(f"{name}.search_100k.newest_100", [seconds(lambda: ask(plain)) for _ in range(5)], "s", rows=found[-1])
    rare = body | {"filter": "params.p1 = '17' and params.p2 = '33'", "order_by": []}
    figure(f"{name}.search_100k.rare", [seconds(lambda: ask(rare)) for _ in range(5)], "s", rows=found[-1])


def measure_page(server, experiment):
    sizes = []

    def load(path):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        sizes.append(len(answer.read()))
        assert answer.status == 200, (path, answer.status)
        connection.close()

    path = f"/runs/default/{experiment}"
    load(path)
    figure("undrift.page_of_100_runs", [seconds(lambda: load(path)) for _ in range(5)], "s", bytes=sizes[-1])


def measure_native(server, run, scratch):
    from undrift import connect
    from undrift.transfer import download, upload_file, upload_folder

    client = connect(server.url)
    found = []
    took = [
        seconds(lambda: found.append(len(client.tracking.metric_history(run_id=run, name="loss").values)))
        for _ in range(3)
    ]
    figure("undrift.native.history_1M", took, "s", points=found[-1])
    client.close()
    if scratch is None:
        return
    made = server.post("runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]
    count = len(list((scratch / "small").iterdir()))
    size = (scratch / "big.bin").stat().st_size / 1e6
    client = connect(server.url)
    took = seconds(lambda: upload_folder(client, made, scratch / "small-native", "small"))
    figure("undrift.native.upload_small", [count / took], "files/s", files=count)
    down = scratch / "native"
    took = seconds(lambda: download(client, made, "small", down))
    figure("undrift.native.download_small", [count / took], "files/s", files=count)
    took = seconds(lambda: upload_file(client, made, scratch / "big-native.bin", "big.bin"))
    figure("undrift.native.upload_big", [size / took], "MB/s", megabytes=size)
    took = seconds(lambda: download(client, made, "big.bin", down))
    figure("undrift.native.download_big", [size / took], "MB/s", megabytes=size)
    client.close()


def make_files(scratch, megabytes):
    """Files for MLflow's client, and others for our own: equal bytes would be stored once and not be sent again."""
    choose = random.Random(7)
    for folder, big in (("small", "big.bin"), ("small-native", "big-native.bin")):
        (scratch / folder).mkdir()
        for number in range(1000):
            (scratch / folder / f"f{number}.bin").write_bytes(choose.randbytes(10_000))
        with (scratch / big).open("wb") as file:
            for _ in range(megabytes):
                file.write(choose.randbytes(1_000_000))
    took = seconds(lambda: (shutil.copyfile(scratch / "big.bin", scratch / "copy.bin"), os.sync()))
    figure("disk.copy_and_sync", [megabytes / took], "MB/s", megabytes=megabytes)


def make_database(url, name):
    import sqlalchemy as sa

    address = sa.make_url(url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return address.set(database=name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--database")
    parser.add_argument("--parts", default="start,rest,client,search,page,artifacts")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1000)
    asked = parser.parse_args()
    parts = asked.parts.split(",")
    asked.scratch.mkdir(parents=True)
    if "artifacts" in parts:
        make_files(asked.scratch, asked.megabytes)
    measure_undrift(asked, parts)
    if asked.peer:
        measure_mlflow(asked, parts)


def measure_undrift(asked, parts):
    from undrift.workspace import Settings, Workspace

    settings = Settings()
    if asked.database:
        address = make_database(asked.database, "undrift_benchmark").set(drivername="postgresql")
        settings = Settings(database=address.render_as_string(hide_password=False))
    folder = asked.scratch / "workspace"
    Workspace.open(folder, create=True, settings=settings).close()
    argv = [sys.executable, "-m", "undrift", "hub", "--workspace", str(folder), "--port", "{port}"]
    server = Server(argv, asked.scratch / "undrift.log")
    name = "undrift"
    measure(asked, parts, name, server, None, lambda experiment: fill_undrift(folder, experiment))


def measure_mlflow(asked, parts):
    database = f"sqlite:///{asked.scratch.absolute()}/mlflow.db"
    if asked.database:
        address = make_database(asked.database, "mlflow_benchmark").set(drivername="postgresql+psycopg2")
        database = address.render_as_string(hide_password=False)
    argv = [str(asked.peer / "bin" / "mlflow"), "server", "--backend-store-uri", database]
    argv += ["--artifacts-destination", str(asked.scratch / "mlflow-artifacts"), "--host", "127.0.0.1"]
    env = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    server = Server([*argv, "--port", "{port}"], asked.scratch / "mlflow.log", env)
    measure(asked, parts, "mlflow", server, database, lambda experiment: fill_mlflow(database, experiment))


def measure(asked, parts, name, server, target, fill):
    server.start()  # the first start makes the tables
    server.stop()
    if "start" in parts:
        measure_start(name, server)
    server.start()
    try:
        if "rest" in parts:
            measure_rest(name, server, asked.seconds)
        experiment = server.post("experiments/create", {"name": f"big {time.time()}"})["experiment_id"]
        run = server.post("runs/create", {"experiment_id": experiment, "start_time": 1})["run"]["info"]["run_id"]
        wanted = [part for part in ("log", "history") if "client" in parts] + ["artifacts"] * ("artifacts" in parts)
        if "client" in parts:
            fill_history(server, target, run)
        if wanted and asked.peer:
            argv = [asked.peer / "bin" / "python", HERE / "tracking_client.py", server.url, name]
            subprocess.run([*argv, asked.scratch.absolute(), run, ",".join(wanted)], check=True)
        if wanted and target is None:
            measure_native(server, run, asked.scratch if "artifacts" in parts else None)
        if "search" in parts or "page" in parts:
            fill(experiment)
        if "search" in parts:
            measure_search(name, server, experiment)
        if "page" in parts and target is None:
            measure_page(server, experiment)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
