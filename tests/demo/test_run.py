import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("lightgbm")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# The same program on fewer days and with a smaller forest.
_SHORT = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import lightgbm
fit = lightgbm.LGBMClassifier.fit
def fit_small(self, *rows, **more):
    return fit(self.set_params(n_estimators=30, n_jobs=1), *rows, **more)
lightgbm.LGBMClassifier.fit = fit_small
from undrift.demo.flights import replay, results, run
end = datetime(2013, 4, 5, tzinfo=UTC)
for module in (replay, results, run):
    module.LAST_DAY = end
run.run_demo(Path(sys.argv[1]), as_json=True, report=Path(sys.argv[2]))
"""


def _start(folder: Path, report: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _SHORT, str(folder), str(report)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _figures(process: subprocess.Popen[bytes]) -> dict[str, float]:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err.decode()
    return json.loads(out.splitlines()[-1])


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_run_goes_on_and_ends_with_the_figures_of_an_undisturbed_one(tmp_path):
    whole = _figures(_start(tmp_path / "whole", tmp_path / "whole.html"))
    killed = _start(tmp_path / "cut", tmp_path / "cut.html")
    # The mark is written after the first day; what follows is in the middle of the second.
    _wait_for(tmp_path / "cut" / ".undrift" / "demo.json", killed)
    time.sleep(0.15)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    resumed = _figures(_start(tmp_path / "cut", tmp_path / "cut.html"))
    assert {name: value for name, value in resumed.items() if name != "seconds"} == {
        name: value for name, value in whole.items() if name != "seconds"
    }
    assert whole["predictions"] == whole["asked"] > 3_000
    assert whole["labels"] + whole["unlabelled"] == whole["predictions"]
    assert whole["labels_parked"] == whole["log_dropped"] == 0
    assert "Month by month" in (tmp_path / "cut.html").read_text()
    assert (tmp_path / "cut" / "project.py").exists()
