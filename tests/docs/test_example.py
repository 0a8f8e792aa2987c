"""The example runs, and tells the whole loop."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "tiny.py"


@pytest.mark.slow
def test_the_example_goes_round_the_whole_loop(tmp_path):
    ran = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, cwd=tmp_path, timeout=110)
    assert ran.returncode == 0, ran.stderr
    said = " ".join(ran.stdout.split())
    story = [
        "retraining -> promoted: The first version passed its gates.",
        "(the depots swap their roles; nobody says so)",
        "incident: Performance drop",
        "retraining -> refused",
        "retraining -> canary",
        "canary -> promoted",
        "incident is over",
        "Version 2 was promoted",
    ]
    places = [said.find(part) for part in story]
    assert -1 not in places, ran.stdout
    assert places == sorted(places)
    before, after, since = (float(loss) for loss in re.findall(r"mean log-loss ([\d.]+)", said))
    assert after > before + 0.2
    assert since < after - 0.2
    assert "was promoted" in ran.stdout.splitlines()[-1]
    assert ran.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_the_example_is_short_enough_to_read():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 160
