"""A million points go out and come in again without being held."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys, time
from pathlib import Path
from undrift.exchange import Here, Report, bring_in, export_project, import_archive, open_mlflow
from undrift.workspace import Workspace

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

import pyarrow.parquet, numpy, yaml, msgspec
folder, count = Path(sys.argv[1]), int(sys.argv[2])
run = folder / "mlruns/1/0123456789abcdef0123456789abcdef"
(run / "metrics").mkdir(parents=True)
(folder / "mlruns/1/meta.yaml").write_text("experiment_id: '1'\\nname: one\\ncreation_time: 1700000000000\\n")
(run / "meta.yaml").write_text(
    "run_id: 0123456789abcdef0123456789abcdef\\nexperiment_id: '1'\\nstatus: 3\\nstart_time: 1700000000000\\n")
for metric in range(4):
    with (run / f"metrics/m{metric}").open("w") as file:
        for i in range(count // 4):
            file.write(f"{1700000000000 + i} {(i * 7919 % 1000) / 1000} {i}\\n")
one = Workspace.open(folder / "one", create=True)
two = Workspace.open(folder / "two", create=True)
report = Report("", "flights")
before = peak()
begun = time.monotonic()
bring_in(open_mlflow(str(folder / "mlruns"), report), Here(one.context, "flights"), report, print)
brought = time.monotonic()
export_project(Here(one.context, "flights"), folder / "out", print)
exported = time.monotonic()
back = import_archive(Here(two.context, "flights"), folder / "out", Report("", "flights"), print)
imported = time.monotonic()
assert back.counts["points"].added == count // 4 * 4, back
one.close(), two.close()
print(f"{brought - begun:.1f} {exported - brought:.1f} {imported - exported:.1f}")
print(peak() - before)
"""


def grown(folder, count):
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", CODE, folder, str(count)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return float(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_does_not_follow_the_number_of_points(tmp_path):
    few = grown(tmp_path / "few", 300_000)
    many = grown(tmp_path / "many", 1_000_000)
    # Held as objects of Python, 700,000 points more would be some 150 MB more.
    assert many < few + 100
