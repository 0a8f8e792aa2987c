"""What MLflow's own client deletes is off the disk after storage was freed, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

from undrift import governance
from undrift.core import ReplayClock
from undrift.metastore import metadata
from undrift.workspace import Workspace

HUB = "import sys; from undrift.hub import run; run(sys.argv[1], port=0, on_ready=lambda url: print(url, flush=True))"
LOG = """
import pathlib, sys
from mlflow import MlflowClient
url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
client = MlflowClient(url, url)
folder.mkdir()

def run_with(experiment, *names):
    run = client.create_run(experiment)
    for name in names:
        client.log_artifact(run.info.run_id, str(folder / name))
    client.log_metric(run.info.run_id, "loss", 0.5)
    client.log_param(run.info.run_id, "depth", 3)
    client.set_terminated(run.info.run_id)
    return run.info.run_id

for seed, name in enumerate(("kept", "shared", "deleted", "swept", "model")):
    (folder / name).write_bytes(bytes((seed + at * at) % 251 for at in range(200_000)) * 10)
kept = client.create_experiment("kept")
swept = client.create_experiment("swept")
good = run_with(kept, "kept", "shared")
bad = run_with(kept, "shared", "deleted")
run_with(swept, "swept")
model = client.create_logged_model(kept, name="late", source_run_id=good)
(folder / "model_files").mkdir()
(folder / "model").rename(folder / "model_files" / "weights")
client.log_model_artifacts(model.model_id, str(folder / "model_files"))
client.finalize_logged_model(model.model_id, "READY")
client.delete_run(bad)
client.delete_experiment(swept)
client.delete_logged_model(model.model_id)
print(good, bad, swept)
"""
LOOK = """
import pathlib, sys
from mlflow import MlflowClient
from mlflow.entities import ViewType
url, good, bad, swept, into = sys.argv[1:]
client = MlflowClient(url, url)
print(len(pathlib.Path(client.download_artifacts(good, "kept", into)).read_bytes()))
print(len(pathlib.Path(client.download_artifacts(good, "shared", into)).read_bytes()))
print([one.name for one in client.search_experiments(ViewType.ALL) if one.name != "Default"])
print([one.info.run_id == good for one in client.search_runs([client.get_run(good).info.experiment_id], "", 3)])
"""


def with_hub(folder, script, *args):
    hub = subprocess.Popen([sys.executable, "-c", HUB, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        asking = [sys.executable, "-c", script, hub.stdout.readline().strip(), *map(str, args)]
        environment = {**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "PYTHONUTF8": "1"}
        client = subprocess.run(asking, capture_output=True, text=True, env=environment, timeout=110)
    finally:
        hub.kill()
        hub.communicate()
    assert client.returncode == 0, client.stderr[-3000:]
    return client.stdout


def on_disk(folder):
    """What `du` counts."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_what_is_deleted_with_mlflow_is_off_the_disk_once_it_is_freed(tmp_path):
    folder = tmp_path / "workspace"
    workspace = Workspace.open(folder, create=True)
    with workspace.database.begin() as tx:
        metadata.create_all(tx)
    said = with_hub(folder, LOG, tmp_path / "files")
    good, bad, swept = said.splitlines()[-1].split()
    before = on_disk(folder / "store")
    assert before > 10_000_000
    ctx = workspace.context()
    assert governance.free_storage(ctx, governance.FreeStorage(dry_run=False)).objects == 0  # deleted just now
    assert 0 <= on_disk(folder / "store") - before < 10_000  # a lock
    late = workspace.context(clock=ReplayClock(ctx.now() + timedelta(days=8)))
    looked = governance.free_storage(late, governance.FreeStorage())
    freed = governance.free_storage(late, governance.FreeStorage(dry_run=False))
    assert (freed.runs, freed.experiments, freed.logged_models, freed.errors) == (2, 1, 1, ())
    assert (looked.runs, looked.objects, looked.freed_bytes) == (freed.runs, freed.objects, freed.freed_bytes)
    assert freed.freed_bytes == 3 * 2_000_000  # what was shared is kept
    assert freed.freed_bytes * 0.99 < before - on_disk(folder / "store") < freed.freed_bytes * 1.02
    seen = with_hub(folder, LOOK, good, bad, swept, tmp_path).splitlines()
    assert seen[-4:] == ["2000000", "2000000", "['kept']", "[True]"]
    workspace.close()
