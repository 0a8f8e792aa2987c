"""Watches a run from a thread of its own: captures code, environment and machine at the start, then measures.

Nothing here may harm the run: each part is bounded in time and size, and what fails is said in the run's tag
``undrift.not_captured``.
"""

from __future__ import annotations

import getpass
import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from undrift.core.hashing import hash_bytes
from undrift.recorder.code import capture_code, entry_script
from undrift.recorder.masking import mask_command
from undrift.recorder.place import importing, working_folder
from undrift.recorder.records import Link, Said, UploadFolder

if TYPE_CHECKING:
    from undrift.recorder.hardware import Gpus
    from undrift.recorder.live import LiveRun

__all__ = ["SAMPLE_EVERY_S", "Observer"]

_log = logging.getLogger("undrift.recorder")

SAMPLE_EVERY_S = 10.0


class Observer:
    """Watches one run.

    Args:
        run: The run.
        capture: Keep code, environment and machine.
        system_metrics: Measure, and count cost.
    """

    def __init__(self, run: LiveRun, *, capture: bool, system_metrics: bool) -> None:
        self._run = run
        self._capture = capture
        self._measures = system_metrics
        self._ending = threading.Event()
        self._problems: list[str] = []
        self._late = False
        # Where the process stands now: the user's code may go elsewhere while this is looked at.
        self._start = working_folder()
        self._entry = entry_script()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"undrift-{name}", daemon=True)
            for name, work, wanted in (("capture", self._keep, capture), ("meter", self._measure, system_metrics))
            if wanted
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, wait_s: float) -> None:
        """Have it take its last measure and end; waits, but not long."""
        until = time.monotonic() + wait_s
        self._ending.set()
        for thread in reversed(self._threads):
            thread.join(max(0.05, until - time.monotonic()))
        self._late = True
        if any(thread.is_alive() for thread in self._threads):
            self._run.tag(
                {"undrift.not_captured": "; ".join([*self._problems, "the run ended before all was captured"])}
            )

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - a run goes on without
            _log.exception("Watching a run failed; the run goes on")

    def _keep(self) -> None:
        with importing():
            from undrift.recorder.environment import lock_environment  # noqa: F401, PLC0415 - for this thread
            from undrift.recorder.hardware import Gpus  # noqa: PLC0415 - the same

        self._part("the command", self._keep_command)
        self._part("the code", self._keep_code)
        self._part("the environment", self._keep_environment)
        gpus = Gpus()
        self._part("the hardware", lambda: self._keep_machine(gpus))
        if gpus.problem:
            self._problems.append(gpus.problem)
        if self._problems:
            self._tag({"undrift.not_captured": "; ".join(self._problems)})

    def _measure(self) -> None:
        with importing():
            from undrift.recorder.hardware import Gpus, Meter, price  # noqa: PLC0415 - for this thread

            meter = Meter(Gpus(), self._start)
        step = 0
        while not self._ending.wait(SAMPLE_EVERY_S):
            self._run._observe(meter.sample(), step)  # noqa: SLF001 - of this room
            step += 1
        self._run._observe(meter.sample(), step)  # noqa: SLF001 - of this room
        used = meter.cost()
        money, currency, problems = price(used)
        self._run._observe(used | money, 0)  # noqa: SLF001 - of this room
        if money and currency:
            self._tag({"undrift.cost_currency": currency})
        if problems:
            self._tag({"undrift.cost_problem": "; ".join(problems)})

    def _tag(self, tags: dict[str, object]) -> None:
        # What comes late has no run to go to.
        if not self._late:
            self._run.tag(tags)

    def _artifact(self, name: str, content: bytes) -> None:
        if not self._late:
            self._run.artifact(name, f"undrift/{name}", content=content)

    def _part(self, what: str, capture: Callable[[], None]) -> None:
        try:
            capture()
        except Exception as error:  # noqa: BLE001 - each part may fail, and no other with it
            self._problems.append(f"{what}: {type(error).__name__}: {error}")

    def _keep_command(self) -> None:
        words = mask_command([os.path.basename(sys.executable), *sys.orig_argv[1:]])  # noqa: PTH119 - quick
        self._tag(
            {
                "undrift.command": " ".join(words),
                "undrift.host": platform.node(),
                "undrift.user": _user(),
                "undrift.python": platform.python_version(),
                "undrift.python_hash_seed": os.environ.get("PYTHONHASHSEED", "random"),
                **({"undrift.entry": self._entry.name} if self._entry else {}),
            }
        )

    def _keep_environment(self) -> None:
        from undrift.recorder.environment import lock_environment  # noqa: PLC0415 - for this thread

        lock = lock_environment()
        self._artifact("environment.json", lock)
        if not self._late:
            self._run._put(Said(links=(Link("input", "environment", "environment", hash_bytes(lock)),)))  # noqa: SLF001

    def _keep_machine(self, gpus: Gpus) -> None:
        from undrift.recorder.hardware import describe_machine  # noqa: PLC0415 - for this thread

        machine = describe_machine(gpus)
        text = msgspec.json.format(msgspec.json.encode(machine, order="sorted"), indent=1)
        self._artifact("hardware.json", text + b"\n")
        gpu_names = sorted({str(one["name"]) for one in machine["gpus"]})
        self._tag(
            {
                "undrift.cpu": machine["cpu"],
                "undrift.cores": machine["usable_cores"],
                "undrift.memory_bytes": machine["memory_bytes"],
                **({"undrift.gpus": f"{len(machine['gpus'])} x {', '.join(gpu_names)}"} if gpu_names else {}),
            }
        )

    def _keep_code(self) -> None:
        target = self._run.folder / "source"
        target.mkdir(parents=True)
        code = capture_code(target, start=self._entry.parent if self._entry else self._start, entry=self._entry)
        self._problems += code.problems
        if code.tags:
            self._tag(dict(code.tags))
        if self._late:
            return
        if code.files:
            self._run._put_upload(UploadFolder("undrift/source", "source", "code", "source"))  # noqa: SLF001
        else:
            self._problems.append("there is no source file to keep")
        if code.diff:
            self._artifact("uncommitted.diff", code.diff)
        about = {"files": code.files, "left_out": code.left_out, "left_out_count": code.left_out_count}
        text = msgspec.json.format(msgspec.json.encode(about), indent=1)
        self._artifact("source.json", text + b"\n")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
