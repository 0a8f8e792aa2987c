"""The main job: one command, one real model kept right through a real year."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from undrift.cli.processes import start_child
from undrift.core.clock import ReplayClock
from undrift.demo.flights import project as project_file
from undrift.demo.flights.replay import FIRST_DAY, LAST_DAY, MODEL_FROM, Replay, live_features, prepare
from undrift.demo.flights.report import print_results, write_report
from undrift.demo.flights.results import gather
from undrift.events import ListEvents, list_events
from undrift.loop.durable import DurableLoop
from undrift.workspace import FOLDER, Settings, Workspace

__all__ = ["run_demo"]

_DONE = "demo-done.json"
_SPENT = "demo-seconds.json"
_TOLD = {"incident.opened", "incident.resolved", "loop.transition"}


def run_demo(folder: Path, *, as_json: bool = False, report: Path = Path("demo-report.html")) -> dict[str, float | int]:
    """Run the year on a folder of its own and return the figures; a run that was cut off is gone on with.

    A year that was replayed to its end is replayed anew, and gives the same figures.

    Args:
        folder: Where; it holds ``project.py`` and the workspace afterwards, for ``undrift up`` to show.
        as_json: Print one JSON object as the last line.
        report: Where the page with charts is written.
    """
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    logging.getLogger("dbos").setLevel(logging.ERROR)
    console = Console(stderr=as_json, highlight=False)
    started = time.monotonic()
    workspace = _workspace(folder)
    try:
        with workspace.hold("worker"):
            spent_before = _spent(workspace)
            results, elapsed = _replay(workspace, console, started, spent_before)
            summary = results.summary(spent_before + elapsed)
            write_report(report, results, summary)
            print_results(console, results, summary)
            console.print(f"\nThe same with charts: [bold]{report}[/bold]")
            console.print(f"Look around: [bold]cd {folder} && undrift up[/bold]")
            (workspace.folder / _DONE).write_text(json.dumps(summary))
    finally:
        workspace.close()
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
    return summary


def _workspace(folder: Path) -> Workspace:
    inside = folder / FOLDER
    if (inside / _DONE).exists():
        with _opened(inside) as old, old.hold("worker"), old.hold("up"):
            pass
        shutil.rmtree(inside)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(project_file.__file__), folder / "project.py")
    return Workspace.open(inside, create=True, settings=Settings(project="project.py"))


@contextmanager
def _opened(folder: Path) -> Iterator[Workspace]:
    workspace = Workspace.open(folder)
    try:
        yield workspace
    finally:
        workspace.close()


def _replay(workspace, console, started, spent_before):
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading the data", total=(LAST_DAY - MODEL_FROM).days)

        def say(text: str, now: datetime | None = None) -> None:
            when = "" if now is None else f"[dim]{now:%Y-%m-%d}[/dim] "
            progress.console.print(f"{when}{text}")

        def context(now: datetime):
            return workspace.context(replay_actor, clock=ReplayClock(now))

        from undrift.core.context import Actor

        replay_actor = Actor("worker", "service")
        built = prepare(workspace, say)
        deployment = built.deployments["late"]
        year = live_features(deployment)
        with (
            DurableLoop(workspace.loop_url, built.deployments, context, workspace.predictions_folder) as loop,
            start_child(
                ["serve", "--workspace", str(workspace.folder), "--port", "0", "--json"],
                workspace.folder / "logs" / "serve.log",
            ) as server,
        ):
            replay = Replay(workspace, loop, built, server.url, say)
            start = replay.next_day()
            if start > MODEL_FROM:
                say(f"going on at {start:%Y-%m-%d}, where the last run stopped")
                progress.update(task, completed=(start - MODEL_FROM).days)
            teller = _Teller(workspace, say)
            progress.update(task, description="training the first version")

            def done(day: datetime) -> None:
                progress.update(task, completed=(day - MODEL_FROM).days, description=f"{day:%B %Y}")
                teller.tell()
                _save_spent(workspace, spent_before + time.monotonic() - started)

            replay.days(year, start, done)
            teller.tell()
            replay.close()
        progress.update(task, description="comparing")
        results = gather(context(LAST_DAY), deployment, year, lambda text: progress.update(task, description=text))
    return results, time.monotonic() - started


class _Teller:
    """Says on the terminal what the log says happened."""

    def __init__(self, workspace: Workspace, say) -> None:
        self._workspace = workspace
        self._say = say
        newest = list_events(workspace.context(), ListEvents(limit=1))
        self._position = newest[0].position if newest else 0

    def tell(self) -> None:
        """Say what is new."""
        fresh = []
        for event in list_events(self._workspace.context(), ListEvents(limit=200)):
            if event.position <= self._position:
                break
            fresh.append(event)
        if fresh:
            self._position = fresh[0].position
        for event in reversed(fresh):
            data = event.data
            if event.type == "incident.opened":
                self._say(f"[red]incident[/red] {data['title']}: {data['findings'][0]['sentence']}", event.time)
            elif event.type == "incident.resolved":
                self._say(f"[green]resolved[/green] {event.subject.removeprefix('incidents/')}: {data['why']}", event.time)
            elif event.type == "loop.transition":
                self._say(f"[cyan]{data['before']} → {data['after']}[/cyan] {data['sentence']}", event.time)


def _spent(workspace: Workspace) -> float:
    path = workspace.folder / _SPENT
    try:
        return float(json.loads(path.read_text())["seconds"]) if path.exists() else 0.0
    except (ValueError, KeyError):
        return 0.0


def _save_spent(workspace: Workspace, seconds: float) -> None:
    (workspace.folder / _SPENT).write_text(json.dumps({"seconds": seconds}))
