"""The machine of a run: what it has, what it uses, and what that costs."""

from __future__ import annotations

import os
import platform
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Gpus", "Meter", "describe_machine", "price"]


class Gpus:
    """The accelerators of this machine, as NVIDIA's library (``nvidia-ml-py``, optional) sees them.

    Only those this process may use are looked at: ``CUDA_VISIBLE_DEVICES`` counts.

    Attributes:
        problem: Why there are none, in words, when there could be some; empty otherwise.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._nvml: Any = None
        self._handles: dict[int, Any] = {}
        try:
            import pynvml  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - optional
        except ImportError:
            if Path("/proc/driver/nvidia").exists() or Path("/dev/nvidiactl").exists():
                self.problem = "GPUs are not measured: `pip install nvidia-ml-py`"
            return
        try:
            pynvml.nvmlInit()
            visible = _visible()
            for index in range(pynvml.nvmlDeviceGetCount()):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = _string(pynvml.nvmlDeviceGetUUID(handle))
                if visible is None or any(one == str(index) or (one and uuid.startswith(one)) for one in visible):
                    self._handles[index] = handle
            self._nvml = pynvml
        except Exception as error:  # noqa: BLE001 - the library's own errors
            if Path("/proc/driver/nvidia").exists():
                self.problem = f"GPUs are not measured: {error}"

    def __len__(self) -> int:
        return len(self._handles)

    def describe(self) -> list[dict[str, Any]]:
        """Return what they are."""
        described = []
        for index, handle in self._handles.items():
            with suppress(Exception):
                described.append(
                    {
                        "index": index,
                        "name": _string(self._nvml.nvmlDeviceGetName(handle)),
                        "memory_bytes": int(self._nvml.nvmlDeviceGetMemoryInfo(handle).total),
                        "driver": _string(self._nvml.nvmlSystemGetDriverVersion()),
                    }
                )
        return described

    def sample(self) -> dict[str, float]:
        """Return what they do now; what one does not tell is left out."""
        sampled: dict[str, float] = {}
        nvml = self._nvml
        for index, handle in self._handles.items():
            prefix = f"system/gpu_{index}_"
            with suppress(Exception):
                sampled[prefix + "percent"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            with suppress(Exception):
                sampled[prefix + "memory_bytes"] = float(nvml.nvmlDeviceGetMemoryInfo(handle).used)
            with suppress(Exception):
                sampled[prefix + "power_watts"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000.0
            with suppress(Exception):
                sampled[prefix + "celsius"] = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        return sampled

    def held(self, pids: set[int]) -> int:
        """Return on how many of them these processes have memory.

        In a container the library names processes by numbers of the host; then those count that do something.
        """
        ours = busy = named = 0
        nvml = self._nvml
        for handle in self._handles.values():
            with suppress(Exception):
                there = {int(one.pid) for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
                named += bool(there)
                ours += bool(there & pids)
            with suppress(Exception):
                busy += nvml.nvmlDeviceGetUtilizationRates(handle).gpu > 0
        return ours or (busy if _in_container() or not named else 0)


class Meter:
    """Measures this process and its machine, from when it is made.

    Args:
        gpus: The accelerators.
        folder: On whose disk the free space is of interest.
    """

    def __init__(self, gpus: Gpus, folder: Path) -> None:
        import psutil  # noqa: PLC0415 - for the thread that measures

        self._psutil = psutil
        self._gpus = gpus
        self._folder = folder
        self._process = psutil.Process()
        self._began = self._sampled = time.monotonic()
        self._cpu_at_begin = self._cpu_seconds(self._children())
        self._gpu_seconds = 0.0
        self._before = self._totals()
        psutil.cpu_percent()

    def sample(self) -> dict[str, float]:
        """Return what is used now, and since the last sample."""
        psutil = self._psutil
        now = time.monotonic()
        elapsed = max(now - self._sampled, 1e-6)
        # Finding them looks at every process of the machine.
        children = self._children()
        sampled = {
            "system/cpu_percent": float(psutil.cpu_percent()),
            "system/memory_bytes": float(psutil.virtual_memory().used),
            "system/process_memory_bytes": float(self._memory(children)),
            "system/process_cpu_seconds": self._cpu_seconds(children) - self._cpu_at_begin,
        }
        with suppress(OSError):
            sampled["system/disk_free_bytes"] = float(psutil.disk_usage(str(self._folder)).free)
        totals = self._totals()
        for name, total in totals.items():
            if name in self._before:
                sampled[name] = max(0.0, (total - self._before[name]) / elapsed)
        self._before = totals
        if len(self._gpus):
            sampled |= self._gpus.sample()
            self._gpu_seconds += elapsed * self._gpus.held({self._process.pid, *children})
        self._sampled = now
        return sampled

    def cost(self) -> dict[str, float]:
        """Return what the run has used, in seconds."""
        used = {
            "cost/wall_seconds": time.monotonic() - self._began,
            "cost/cpu_seconds": max(0.0, self._cpu_seconds(self._children()) - self._cpu_at_begin),
        }
        if len(self._gpus):
            used["cost/gpu_seconds"] = self._gpu_seconds
        return used

    def _totals(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        # Containers may hide either.
        with suppress(Exception):
            if (disk := self._psutil.disk_io_counters()) is not None:
                totals["system/disk_read_bytes_per_s"] = disk.read_bytes
                totals["system/disk_write_bytes_per_s"] = disk.write_bytes
        with suppress(Exception):
            if (network := self._psutil.net_io_counters()) is not None:
                totals["system/network_sent_bytes_per_s"] = network.bytes_sent
                totals["system/network_received_bytes_per_s"] = network.bytes_recv
        return totals

    def _children(self) -> list[int]:
        with suppress(self._psutil.Error):
            return [child.pid for child in self._process.children(recursive=True)]
        return []

    def _memory(self, children: list[int]) -> int:
        total = 0
        for pid in (self._process.pid, *children):
            with suppress(self._psutil.Error):
                total += self._psutil.Process(pid).memory_info().rss
        return total

    def _cpu_seconds(self, children: list[int]) -> float:
        times = self._process.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for pid in children:  # those that have not ended are not in the times of this one yet
            with suppress(self._psutil.Error):
                child = self._psutil.Process(pid).cpu_times()
                total += child.user + child.system
        return float(total)


def price(used: dict[str, float]) -> tuple[dict[str, float], str, list[str]]:
    """Return what the use cost in money, in which currency, and what is wrong with the prices.

    Prices come from the environment, in units of the currency: ``UNDRIFT_PRICE_CPU_HOUR`` for an hour of one core at
    work, ``UNDRIFT_PRICE_GPU_HOUR`` for an hour of one accelerator held, ``UNDRIFT_PRICE_HOUR`` for an hour of the
    machine; ``UNDRIFT_PRICE_CURRENCY`` names the currency.
    """
    total, known, problems = 0.0, False, []
    for variable, metric in (
        ("UNDRIFT_PRICE_CPU_HOUR", "cost/cpu_seconds"),
        ("UNDRIFT_PRICE_GPU_HOUR", "cost/gpu_seconds"),
        ("UNDRIFT_PRICE_HOUR", "cost/wall_seconds"),
    ):
        if not (said := os.environ.get(variable)):
            continue
        try:
            total += float(said) * used.get(metric, 0.0) / 3600.0
            known = True
        except ValueError:
            problems.append(f"{variable} is {said[:40]!r}, which is no price")
    return ({"cost/money": total} if known else {}), os.environ.get("UNDRIFT_PRICE_CURRENCY", ""), problems


def describe_machine(gpus: Gpus) -> dict[str, Any]:
    """Return what this machine is."""
    described: dict[str, Any] = {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memory_bytes": 0,
        "gpus": gpus.describe() or _gpus_of_proc(),
        "python_executable": sys.executable,
    }
    with suppress(OSError, ValueError):
        described["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name, path in (("memory_limit_bytes", "/sys/fs/cgroup/memory.max"), ("cpu_limit", "/sys/fs/cgroup/cpu.max")):
        with suppress(OSError):
            said = Path(path).read_text().strip()
            if not said.startswith("max"):
                described[name] = int(said) if said.isdigit() else said
    return described


def _cpu_model() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - quick
        for line in file:
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor()


def _gpus_of_proc() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with suppress(OSError):
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
            for line in path.read_text().splitlines():
                if line.startswith("Model:"):
                    found.append({"index": len(found), "name": line.partition(":")[2].strip()})
    return found


def _visible() -> list[str] | None:
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if said is None else [one.strip() for one in said.split(",") if one.strip()]


def _string(said: Any) -> str:
    return said.decode() if isinstance(said, bytes) else str(said)


def _in_container() -> bool:
    return (
        Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "KUBERNETES_SERVICE_HOST" in os.environ
    )
