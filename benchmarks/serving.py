"""Predictions a second over HTTP, with the prediction log on, against a bare server with the same model.

    python benchmarks/serving.py [--rounds 5] [--seconds 2] [--profile PY_SPY]

Prints one JSON object a line: name, value (median), unit, min, max, n, load1. The server runs on core 0, the load (wrk,
`apt-get install wrk`) on core 1. *bare* is granian's RSGI with msgspec and onnxruntime and nothing else: no checks, no
names, no log, no routes; it asks the model once a request. undrift asks it once for all requests that are ready at a
time, which is how it makes up for what it does beside. Both are loaded in turns within one run, so that a busy machine
is busy for both; judge by the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import msgspec
import numpy as np

COLUMNS = [f"feature_{place}" for place in range(30)]
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.body = file:read("*a")
file:close()
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests_s": %.3f, "p50_ms": %.4f, "p99_ms": %.4f, "errors": %d}\\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.status + e.connect + e.read + e.write + e.timeout))
end
"""


class Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Request(msgspec.Struct):
    inputs: list[Tensor]
    id: str | None = None


def emit(name, values, unit, **extra):
    row = {
        "name": name,
        "value": round(statistics.median(values), 4),
        "unit": unit,
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "n": len(values),
        "load1": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(row | extra), flush=True)
    return row["value"]


def make_model(path: Path) -> np.ndarray:
    """Write LightGBM with 200 trees of 64 leaves over 30 floats as ONNX, and return some rows."""
    import lightgbm
    import onnx
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    rng = np.random.default_rng(7)
    rows = rng.normal(size=(50_000, 30)).astype(np.float32)
    signal_ = rows[:, 0] * rows[:, 1] + np.sin(rows[:, 2] * 2) + rows[:, 3:8].sum(1) * 0.3
    labels = (signal_ + rng.normal(size=len(rows)) * 0.5 > 0).astype(int)
    settings = {"objective": "binary", "num_leaves": 64, "learning_rate": 0.05, "verbose": -1, "seed": 7}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, labels), 200)
    made = convert_lightgbm(
        booster, initial_types=[("input", FloatTensorType([None, 30]))], zipmap=False, target_opset=15
    )
    onnx.save(made, str(path))
    return rows[:1000]


def make_bodies(folder: Path, rows: np.ndarray) -> None:
    for count in (1, 1000):
        values = [[round(float(value), 5) for value in row] for row in rows[:count]]
        flat = [value for row in values for value in row]
        tensor = {"name": "features", "shape": [count, 30], "datatype": "FP32", "data": flat}
        (folder / f"oip_{count}.json").write_text(json.dumps({"inputs": [tensor]}))
        named = [dict(zip(COLUMNS, row, strict=True)) for row in values]
        (folder / f"named_{count}.json").write_text(json.dumps({"rows": named}))


def serve_bare(folder: Path, port: int) -> None:
    import asyncio

    import onnxruntime
    from granian.constants import HTTPModes
    from granian.server.embed import Server

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    outputs, input_ = [session.get_outputs()[-1].name], session.get_inputs()[0].name

    decode, encode = msgspec.json.Decoder(Request).decode, msgspec.json.Encoder().encode
    headers = [("content-type", "application/json")]

    async def app(scope, proto):
        if scope.method != "POST":
            proto.response_bytes(200, headers, b"{}")
            return
        tensor = decode(await proto()).inputs[0]
        matrix = np.array(tensor.data, np.float32).reshape(tensor.shape)
        answer = session.run(outputs, {input_: matrix})[0]
        output = {"name": "p", "shape": list(answer.shape), "datatype": "FP32", "data": answer.ravel().tolist()}
        proto.response_bytes(200, headers, encode({"model_name": "m", "outputs": [output]}))

    async def serve():
        server = Server(app, port=port, websockets=False, log_enabled=False, backlog=1024, http=HTTPModes.http1)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        await server.serve()

    asyncio.run(serve())


def serve_undrift(folder: Path, port: int) -> None:
    from datetime import UTC, datetime

    from undrift.blobs import Repository, open_store
    from undrift.core import SystemClock
    from undrift.registry import Field, Signature
    from undrift.serving import Arm, Route, RoutingTable
    from undrift.serving.server import build_app, run

    stored = Repository(open_store(str(folder / "store")))
    signature = Signature(tuple(Field(name, "float") for name in COLUMNS), "classification", "probability")
    files = {"model.onnx": (folder / "model.onnx").read_bytes(), "signature.json": msgspec.json.encode(signature)}
    arms = (Arm("champion", 1, stored.trees.edit(None, files), 1.0),)
    route = Route("m", "bench", "m", 1, arms, False, datetime.now(UTC), "bench", "", {})

    class Source:
        repository = stored

        def table(self):
            return RoutingTable(1, {"m": route})

    run(lambda: build_app(Source(), folder / "log", folder / "cache", SystemClock()), port=port)


class Server:
    """A server as a child on core 0."""

    def __init__(self, kind: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        started = time.perf_counter()
        argv = ["taskset", "-c", "0", sys.executable, __file__, "--serve", kind, "--folder", str(folder)]
        self.process = subprocess.Popen([*argv, "--port", str(self.port)])
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/health/ready", timeout=5).read()
                break
            except OSError:
                if self.process.poll() is not None or time.perf_counter() - started > 60:
                    raise
                time.sleep(0.005)
        self.start_s = time.perf_counter() - started

    def memory_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def load(server: Server, path: str, body: Path, clients: int, seconds: int, folder: Path) -> dict:
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(folder / "post.lua")]
    told = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}{path}"],
        env=os.environ | {"BODY": str(body)},
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    ).stdout
    found = json.loads(next(line for line in told.splitlines() if line.startswith("{")))
    if found["errors"]:
        raise RuntimeError(f"{path}: {found}")
    return found


def compare(name: str, servers: dict, cases: dict, clients: int, rows: int, given, folder: Path) -> None:
    """Load the cases in turns, and print each one's rate and, but for the bare one, its ratio to the bare one."""
    seen = {case: [] for case in cases}
    for _ in range(given.rounds):
        for case, (server, path, body) in cases.items():
            seen[case].append(load(servers[server], path, folder / body, clients, given.seconds, folder))
    unit = "requests/s" if rows == 1 else "rows/s"
    for case, found in seen.items():
        rates = [one["requests_s"] * rows for one in found]
        p50, p99 = (statistics.median(one[key] for one in found) for key in ("p50_ms", "p99_ms"))
        emit(f"serving.{case}.{name}", rates, unit, p50_ms=round(p50, 3), p99_ms=round(p99, 3))
        if case != "bare":
            pairs = zip(found, seen["bare"], strict=True)
            emit(
                f"serving.{case}.{name}.ratio", [one["requests_s"] / two["requests_s"] for one, two in pairs], "of bare"
            )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--seconds", type=int, default=2)
    asked.add_argument("--clients", type=int, nargs="*", default=[1, 16, 64])
    asked.add_argument("--profile", help="py-spy: profile the server under load of 64 clients instead")
    asked.add_argument("--serve", choices=["bare", "undrift"], help=argparse.SUPPRESS)
    asked.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.serve:
        {"bare": serve_bare, "undrift": serve_undrift}[given.serve](given.folder, given.port)
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    folder = Path(tempfile.mkdtemp(prefix="undrift-bench-"))
    servers: dict[str, Server] = {}
    try:
        (folder / "post.lua").write_text(LUA)
        make_bodies(folder, make_model(folder / "model.onnx"))
        for kind in ("bare", "undrift"):
            servers[kind] = Server(kind, folder)
            emit(f"serving.{kind}.start", [servers[kind].start_s], "s", note="command to first ready answer, one core")
            emit(f"serving.{kind}.rss_idle", [servers[kind].memory_mb()], "MB")
        oip = "/v2/models/m/infer"
        if given.profile:
            argv = [
                given.profile,
                "record",
                "-d",
                str(int(given.seconds)),
                "-r",
                "500",
                "-f",
                "raw",
                "-o",
                "/tmp/profile.txt",
            ]
            with subprocess.Popen([*argv, "--pid", str(servers["undrift"].process.pid)]) as profiler:
                load(servers["undrift"], oip, folder / "oip_1.json", 64, given.seconds + 1, folder)
                profiler.wait()
            return
        for clients in given.clients:
            cases = {
                "bare": ("bare", "/", "oip_1.json"),
                "undrift": ("undrift", oip, "oip_1.json"),
                "undrift_named": ("undrift", "/predict/m", "named_1.json"),
            }
            compare(f"row1.c{clients}", servers, cases, clients, 1, given, folder)
        cases = {
            "bare": ("bare", "/", "oip_1000.json"),
            "undrift": ("undrift", oip, "oip_1000.json"),
            "undrift_named": ("undrift", "/predict/m", "named_1000.json"),
        }
        compare("row1000.c1", servers, cases, 1, 1000, given, folder)
        emit("serving.undrift.rss_after", [servers["undrift"].memory_mb()], "MB")
        emit("serving.bare.rss_after", [servers["bare"].memory_mb()], "MB")
    finally:
        for server in servers.values():
            server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
