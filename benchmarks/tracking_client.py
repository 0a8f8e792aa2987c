"""What MLflow's own client sees of a server; run by `tracking.py` with the python of MLflow's environment.

Usage: tracking_client.py URL NAME SCRATCH HISTORY_RUN PARTS
"""

import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")

from figures import figure
from mlflow import MlflowClient

url, name, scratch, history_run, parts = sys.argv[1:6]
client = MlflowClient(url)


def seconds(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def parse_history():
    """What the client does with forty pages of a history once they are there: no server can make it quicker."""
    from mlflow.entities import Metric
    from mlflow.protos.service_pb2 import GetMetricHistory
    from mlflow.utils.proto_json_utils import parse_dict

    points = [
        {"key": "loss", "value": 1 / (i + 1), "timestamp": 1_700_000_000_000 + i, "step": i} for i in range(25_000)
    ]
    page = json.dumps({"metrics": points})
    kept = []
    for _ in range(40):
        answer = GetMetricHistory.Response()
        parse_dict(json.loads(page), answer)
        kept.extend(Metric.from_proto(one) for one in answer.metrics)


experiment = client.create_experiment(f"client {time.time()}")
run = client.create_run(experiment).info.run_id

if "log" in parts:
    for _ in range(20):
        client.log_metric(run, "warm", 0.5)
    took = sorted(seconds(lambda i=i: client.log_metric(run, "x", 0.5, step=i)) * 1e3 for i in range(500))
    figure(f"{name}.client.log_metric_p50", [statistics.median(took)], "ms", p99=round(took[494], 3))
if "history" in parts:
    found = []
    took = seconds(lambda: found.extend(client.get_metric_history(history_run, "loss")))
    figure(f"{name}.client.history_1M", [took], "s", points=len(found))
    del found[:]
    figure(f"{name}.client.history_1M_parsing_alone", [seconds(parse_history)], "s")
if "artifacts" in parts:
    small, big, down = Path(scratch) / "small", Path(scratch) / "big.bin", Path(scratch) / "down"
    shutil.rmtree(down, ignore_errors=True)
    down.mkdir()
    count = len(list(small.iterdir()))
    took = seconds(lambda: client.log_artifacts(run, str(small), "small"))
    figure(f"{name}.client.upload_small", [count / took], "files/s", files=count)
    took = seconds(lambda: client.download_artifacts(run, "small", str(down)))
    figure(f"{name}.client.download_small", [count / took], "files/s", files=count)
    size = big.stat().st_size / 1e6
    took = seconds(lambda: client.log_artifact(run, str(big), "big"))
    figure(f"{name}.client.upload_big", [size / took], "MB/s", megabytes=size)
    took = seconds(lambda: client.download_artifacts(run, "big", str(down)))
    figure(f"{name}.client.download_big", [size / took], "MB/s", megabytes=size)
