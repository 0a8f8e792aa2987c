"""MLflow's own client, fluent interface and autologging, each in a process of its own against a live hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "import sys; from undrift.hub import run; run(sys.argv[1], port=0, on_ready=lambda url: print(url, flush=True))"


@pytest.fixture
def hub(blank, tmp_path):
    """The address of a hub that lives as long as the test."""
    folder = shutil.copytree(blank, tmp_path / "workspace")
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("script", "prefix"),
    [("client_tracking.py", ""), ("client_tracking.py", "/projects/flights"), ("client_autolog.py", "")],
)
def test_the_client_works_unchanged(hub, tmp_path, script, prefix):
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name(script)), hub + prefix]
    # A wrong answer must show at once, and not after minutes of trying again.
    environment = os.environ | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.rstrip().endswith("done")
