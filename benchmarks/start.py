"""How long `import undrift` and `undrift --help` take, and how fast and how large the processes of a workspace are.

python benchmarks/start.py
"""

import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from figures import figure

RUNS = 9


def seconds(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - started


def resident_mb(process: psutil.Process) -> float:
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 1e6


def first_answer(arguments: list[str], path: str) -> tuple[float, float, int]:
    """Return seconds to the first answer, resident memory at rest in MB, and the number of processes."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "undrift", *arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        address = json.loads(child.stdout.readline())["url"].removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("GET", path)
        if connection.getresponse().status >= 400:
            raise SystemExit(f"{arguments} answered with an error")
        took = time.perf_counter() - started
        connection.close()
        time.sleep(2)
        process = psutil.Process(child.pid)
        return took, resident_mb(process), 1 + len(process.children(recursive=True))
    finally:
        child.terminate()
        child.wait()


def main() -> None:
    figure("python -c pass", [seconds("-c", "pass") for _ in range(RUNS)], "s")
    figure("import undrift", [seconds("-c", "import undrift") for _ in range(RUNS)], "s")
    figure("undrift --help", [seconds("-m", "undrift", "--help") for _ in range(RUNS)], "s")
    with tempfile.TemporaryDirectory() as folder:
        workspace = str(Path(folder) / ".undrift")
        subprocess.run([sys.executable, "-m", "undrift", "init", folder], check=True, capture_output=True, cwd=folder)
        for name, path in (("hub", "/health"), ("serve", "/v2/health/live")):
            runs = [first_answer([name, "--workspace", workspace, "--port", "0"], path) for _ in range(5)]
            figure(f"undrift {name}: start to first answer", [run[0] for run in runs], "s")
            figure(f"undrift {name}: memory at rest", [run[1] for run in runs], "MB RSS", processes=runs[0][2])


if __name__ == "__main__":
    main()
