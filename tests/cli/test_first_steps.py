"""The first day with undrift: `init`, `up`, a prediction, its label, `status`, all with the project it comes with."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

pytest.importorskip("lightgbm")


def until(condition, within_s=60.0):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError("it did not come to pass")


@pytest.mark.slow
def test_the_first_project_trains_answers_is_watched_and_goes_when_up_is_killed(call, is_gone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNDRIFT_WORKSPACE", raising=False)
    assert call("init").code == 0
    up = subprocess.Popen(
        [sys.executable, "-m", "undrift", "up", "--json", "--port", "0", "--serve-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        *processes, ready = (json.loads(up.stdout.readline()) for _ in range(4))
        assert {line["process"] for line in processes} == {"hub", "worker", "serve"}
        (endpoint,) = until(lambda: call("status", "--json").json["endpoints"])
        assert (endpoint["endpoint"], endpoint["champion"]["number"]) == ("late", 1)

        rows = [{"distance_km": 1.0 + number, "items": 2, "hour": 18} for number in range(12)]
        body = {
            "rows": rows,
            "ids": [f"order-{number}" for number in range(12)],
            "event_times": (datetime.now(UTC) - timedelta(days=4)).isoformat(),
        }
        url = f"{ready['serve']}/predict/late"
        answer = until(lambda: (found := httpx.post(url, json=body, trust_env=False)).status_code == 200 and found)
        assert len(answer.json()["predictions"]) == 12

        labels = "".join(f"order-{number},{int(number > 6)}\n" for number in range(12))
        (tmp_path / "labels.csv").write_text("prediction_id,label\n" + labels)
        assert call("labels", "labels.csv", "--endpoint", "late", "--hub", ready["hub"]).code == 0
        window = until(lambda: call("status", "--json").json["endpoints"][0]["measured_window"])
        assert (window["predictions"], window["labels"]) == (12, 12)
        assert call("status").out.startswith("Nothing is wrong.\n")
        assert call("audit", "verify").code == 0
    finally:
        up.kill()
        up.wait()
        up.stdout.close()
    assert all(is_gone(line["pid"]) for line in processes)
