"""The accelerators of a machine, measured through a stand-in for NVIDIA's library: no machine of ours has one."""

# ruff: noqa: N802 - the names of NVIDIA's library

from __future__ import annotations

import sys
import types

import pytest

from undrift.recorder import hardware


class Nvml(types.ModuleType):
    """Answers as `pynvml` does, of two devices; what is in `failing` raises, as the library does of a missing part."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self):
        super().__init__("pynvml")
        self.failing = set()
        self.busy = {0: 80, 1: 0}
        self.processes = {0: [], 1: []}

    def __getattribute__(self, name):
        if name.startswith("nvml") and name in super().__getattribute__("failing"):
            raise RuntimeError("Not Supported")
        return super().__getattribute__(name)

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}aaa".encode()

    def nvmlDeviceGetName(self, handle):
        return b"H200"

    def nvmlSystemGetDriverVersion(self):
        return b"580.1"

    def nvmlDeviceGetMemoryInfo(self, handle):
        return types.SimpleNamespace(total=1000, used=100 + handle)

    def nvmlDeviceGetUtilizationRates(self, handle):
        return types.SimpleNamespace(gpu=self.busy[handle])

    def nvmlDeviceGetPowerUsage(self, handle):
        return 70_500

    def nvmlDeviceGetTemperature(self, handle, kind):
        return 40

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [types.SimpleNamespace(pid=pid) for pid in self.processes[handle]]


@pytest.fixture
def nvml(monkeypatch):
    """The library, with two devices."""
    made = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(hardware, "_in_container", lambda: False)
    return made


@pytest.mark.parametrize(
    ("visible", "seen"), [(None, [0, 1]), ("1", [1]), ("GPU-0aa", [0]), ("1,0", [0, 1]), ("", []), ("-1", [])]
)
def test_those_this_process_may_use_are_described(nvml, monkeypatch, visible, seen):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = hardware.Gpus()
    assert gpus.problem == ""
    assert gpus.describe() == [
        {"index": index, "name": "H200", "memory_bytes": 1000, "driver": "580.1"} for index in seen
    ]
    assert len(gpus) == len(seen)


def test_what_they_do_is_measured_and_what_one_does_not_tell_is_left_out(nvml, tmp_path):
    nvml.failing = {"nvmlDeviceGetPowerUsage"}
    sampled = hardware.Meter(hardware.Gpus(), tmp_path).sample()
    assert {name: value for name, value in sampled.items() if "gpu" in name} == {
        "system/gpu_0_percent": 80.0,
        "system/gpu_0_memory_bytes": 100.0,
        "system/gpu_0_celsius": 40.0,
        "system/gpu_1_percent": 0.0,
        "system/gpu_1_memory_bytes": 101.0,
        "system/gpu_1_celsius": 40.0,
    }


def test_the_time_counts_of_those_that_the_run_holds(nvml, tmp_path, monkeypatch):
    meter = hardware.Meter(hardware.Gpus(), tmp_path)
    now = meter._sampled
    monkeypatch.setattr(hardware.time, "monotonic", lambda: now)
    for pids, held in (([meter._process.pid], 1), ([1], 0), ([], 0)):
        before = meter.cost()["cost/gpu_seconds"]
        # The other one works for somebody else, who is named.
        nvml.processes = {0: [1], 1: pids}
        now += 10
        meter.sample()
        assert meter.cost()["cost/gpu_seconds"] - before == 10 * held


def test_a_machine_without_them_says_nothing_of_them(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    gpus = hardware.Gpus()
    assert (len(gpus), gpus.describe(), gpus.sample()) == (0, [], {})
    meter = hardware.Meter(gpus, tmp_path)
    assert not [name for name in meter.sample() | meter.cost() if "gpu" in name]


def test_a_library_that_does_not_start_harms_nothing(nvml):
    nvml.failing = {"nvmlInit"}
    gpus = hardware.Gpus()
    assert (len(gpus), gpus.describe(), gpus.sample()) == (0, [], {})


def test_a_run_is_logged_with_what_they_did_and_cost(nvml, workspace, runs, find, monkeypatch):
    import undrift as ud

    monkeypatch.setenv("UNDRIFT_PRICE_GPU_HOUR", "3600")
    nvml.processes = {0: [hardware.os.getpid()], 1: []}
    with ud.run("flights", target=workspace, capture=True, system_metrics=True) as run:
        run.log(loss=1)
    there = find(run.id)
    assert there.tags["undrift.gpus"] == "2 x H200"
    assert there.metrics["system/gpu_0_percent"] == 80.0
    assert there.metrics["cost/gpu_seconds"] > 0
    assert there.metrics["cost/money"] == pytest.approx(there.metrics["cost/gpu_seconds"])
