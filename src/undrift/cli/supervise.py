"""Keeps some processes running: starts them, waits until they answer, starts again what ends, stops all in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from undrift.core.errors import UndriftError
from undrift.processes import Child, answers, ended, start_child

__all__ = ["Process", "Supervisor", "Tell"]

_QUICK_S = 10.0
_QUICK_DEATHS = 5
_START_S = 120.0
_FIRST_PAUSE_S = 0.2
_LAST_STEP = frozenset({2, 3, 4, 6})
"""Exit codes of errors that trying again does not mend: of what was asked, not of the moment."""

State = Literal["starting", "ready", "ended", "given up"]
Tell = Callable[[str, State, dict[str, Any]], None]
"""Told the name of a process, its new state, and facts about it."""


class Process:
    """One process to keep running.

    Args:
        name: Its name.
        args: What follows ``undrift`` to start it.
        log: Takes what it says.
        url: Where it answers; empty when it does not, but prints a line when it is ready.

    Attributes:
        state: Where it stands.
    """

    def __init__(self, name: str, args: Sequence[str], log: Path, *, url: str = "") -> None:
        self.name = name
        self.url = url
        self.state: State = "ended"
        self._args = args
        self._log = log
        self._child: Child | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._quick_deaths = 0

    def look(self, tell: Tell, *, first_time: bool) -> None:
        """Do what is due now.

        Args:
            tell: Told what has changed.
            first_time: The processes have not all been ready yet: what cannot get better is given up at once.

        Raises:
            Unavailable: It is given up, and the sentence has its last lines; or it cannot be started now.
        """
        if self.state == "ended" and time.monotonic() >= self._start_at:
            self._start_at = time.monotonic() + _START_S
            self._child = start_child(self._args, self._log)
            self._started_at = time.monotonic()
            self.state = "starting"
        elif self.state in ("starting", "ready") and self._child is not None:
            if self._child.exit_code is not None:
                self._bury(self._child, tell, first_time=first_time)
            elif self.state == "starting" and self._is_ready(self._child):
                self.state = "ready"
                tell(self.name, self.state, {"pid": self._child.process.pid, "url": self.url or None})
            elif self.state == "starting" and time.monotonic() > self._started_at + _START_S:
                self._child.kill()

    def stop(self) -> bool:
        """Stop it; returns whether it ended by itself when asked to."""
        return self._child is None or self._child.stop()

    def _is_ready(self, child: Child) -> bool:
        if self.url:
            # A hub that is not well says so with another status; it runs all the same.
            return answers(f"{self.url}/health", whatever=True)
        return any(line.startswith(f"undrift {self._args[0]}: ") for line in child.said(everything=True).splitlines())

    def _bury(self, child: Child, tell: Tell, *, first_time: bool) -> None:
        quick = self.state == "starting" or time.monotonic() < self._started_at + _QUICK_S
        self._quick_deaths = self._quick_deaths + 1 if quick else 1
        if self._quick_deaths >= _QUICK_DEATHS or (first_time and child.exit_code in _LAST_STEP):
            self.state = "given up"
            raise ended(child)
        pause_s = _FIRST_PAUSE_S * 2 ** (self._quick_deaths - 1)
        self.state = "ended"
        self._start_at = time.monotonic() + pause_s
        tell(self.name, self.state, {"exit_code": child.exit_code, "again_in_s": pause_s, "log": str(child.log)})


class Supervisor:
    """Keeps processes running.

    Args:
        processes: In the order in which they are started; they are stopped in reverse.
        tell: Told what happens.
    """

    def __init__(self, processes: Sequence[Process], tell: Tell) -> None:
        self._processes = processes
        self._tell = tell
        self._complete = False

    @property
    def complete(self) -> bool:
        """Whether all have been ready."""
        return self._complete

    def look(self) -> None:
        """Do what is due now.

        Raises:
            Unavailable: A process could not be started at all, or none is left.
        """
        for one in self._processes:
            try:
                one.look(self._tell, first_time=not self._complete)
            except UndriftError as error:
                # Those that run go on: a model server answers although the worker is broken.
                if not self._complete or all(process.state == "given up" for process in self._processes):
                    raise
                self._tell(one.name, one.state, error.to_problem())
        self._complete = self._complete or all(one.state == "ready" for one in self._processes)

    def stop(self) -> list[str]:
        """Stop all, the last one first; returns the names of those that had to be killed."""
        return [one.name for one in reversed(self._processes) if not one.stop()]
