"""The main job: one command, one real model kept right through a real year."""

from __future__ import annotations

import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from undrift.core.clock import ReplayClock
from undrift.core.context import Context
from undrift.demo.flights import feed
from undrift.demo.flights.replay import LAST_DAY, MODEL_FROM, WORKER, Replay, live_features, prepare
from undrift.demo.flights.report import print_results, write_report
from undrift.demo.flights.results import Results, gather
from undrift.events import Event, ListEvents, list_events
from undrift.loop.durable import DurableLoop
from undrift.processes import free_port, start_child, wait_ready
from undrift.workspace import FOLDER, Settings, Workspace

__all__ = ["run_demo"]

_PROGRESS = "demo.json"
_MODEL_SERVER_START_S = 60.0


class _Progress(msgspec.Struct, frozen=True):
    """How far a demo has come: the seconds it took so far, and whether the year was replayed to its end."""

    seconds: float = 0.0
    done: bool = False


def run_demo(folder: Path, *, as_json: bool = False, report: Path = Path("demo-report.html")) -> dict[str, float | int]:
    """Run the year on a folder of its own and return the figures; a run that was cut off is gone on with.

    A year that was replayed to its end is replayed anew, and gives the same figures.

    Args:
        folder: Where; it holds ``project.py`` and the workspace afterwards, for ``undrift up`` to show.
        as_json: Print one JSON object as the last line, and everything else on standard error.
        report: Where the page with charts is written.

    Raises:
        Unavailable: The package with the data is not installed, or the folder cannot be written.
        Conflict: Another process works on the folder.
    """
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=as_json, highlight=False, width=140)
    feed.departures()
    workspace = _workspace(folder)
    try:
        with workspace.hold("worker"):
            results, seconds = _run(workspace, console)
            summary = results.summary(seconds)
            write_report(report, results, summary)
            print_results(console, results, summary)
    finally:
        workspace.close()
    console.print(f"\nThe same with charts: [bold]{report}[/bold]")
    console.print(f"Look around: [bold]cd {folder} && undrift up[/bold]")
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
    return summary


def _workspace(folder: Path) -> Workspace:
    inside = folder / FOLDER
    if inside.exists() and _progress(inside).done:
        old = Workspace.open(inside)
        try:
            # Whoever looks at it with `undrift up` is not to lose it under their eyes.
            with old.hold("up"), old.hold("worker"):
                pass
        finally:
            old.close()
        shutil.rmtree(inside)
    workspace = Workspace.open(inside, create=True, settings=Settings(project="project.py"))
    shutil.copyfile(Path(__file__).with_name("project.py"), folder / "project.py")
    return workspace


def _progress(inside: Path) -> _Progress:
    try:
        return msgspec.json.decode((inside / _PROGRESS).read_bytes(), type=_Progress)
    except (FileNotFoundError, msgspec.DecodeError):
        return _Progress()


def _save(workspace: Workspace, progress: _Progress) -> None:
    temporary = workspace.folder / f"{_PROGRESS}.new"
    temporary.write_bytes(msgspec.json.encode(progress))
    temporary.replace(workspace.folder / _PROGRESS)


def _run(workspace: Workspace, console: Console) -> tuple[Results, float]:
    before, started = _progress(workspace.folder).seconds, time.monotonic()

    def seconds() -> float:
        return before + time.monotonic() - started

    def context(now: datetime) -> Context:
        return workspace.context(WORKER, clock=ReplayClock(now))

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("taking in the data", total=(LAST_DAY - MODEL_FROM).days)

        def say(text: str, now: datetime) -> None:
            bar.console.print(f"[dim]{now:%Y-%m-%d}[/dim] {text}")

        built = prepare(workspace, say)
        deployment = built.deployments["late"]
        year = live_features(deployment)
        with (
            DurableLoop(workspace.loop_url, built.deployments, context, workspace.predictions_folder) as loop,
            _model_server(workspace) as server_url,
        ):
            replay = Replay(workspace, loop, built, server_url)
            start = replay.next_day()
            bar.update(task, completed=(start - MODEL_FROM).days, description="training the first version")
            if start > MODEL_FROM:
                say("going on where the last run stopped", start)
            tell = _teller(workspace, say)

            def done(day: datetime) -> None:
                bar.update(task, completed=(day - MODEL_FROM).days, description=f"{day:%B %Y}")
                tell()
                _save(workspace, _Progress(seconds()))

            try:
                replay.days(year, start, done)
            finally:
                replay.close()
            tell()
        bar.update(task, description="comparing")
        results = gather(context(LAST_DAY), deployment, year, lambda text: bar.update(task, description=text))
    _save(workspace, _Progress(seconds(), done=True))
    return results, seconds()


@contextmanager
def _model_server(workspace: Workspace) -> Iterator[str]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    arguments = ["serve", "--workspace", str(workspace.folder), "--port", str(port)]
    child = start_child(arguments, workspace.folder / "logs" / "serve.log")
    try:
        wait_ready(f"{url}/v2/health/live", _MODEL_SERVER_START_S, child)
        yield url
    finally:
        child.stop()


def _teller(workspace: Workspace, say: Callable[[str, datetime], None]) -> Callable[[], None]:
    """Return a function that says what the log says happened since it was last called."""
    newest = list_events(workspace.context(), ListEvents(limit=1))
    position = newest[0].position if newest else 0

    def tell() -> None:
        nonlocal position
        fresh = [
            event for event in list_events(workspace.context(), ListEvents(limit=500)) if event.position > position
        ]
        for event in reversed(fresh):
            position = event.position
            text = _told(event)
            if text:
                say(text, event.time)

    return tell


def _told(event: Event) -> str:
    data = event.data
    number = event.subject.removeprefix("incidents/")
    if event.type == "incident.opened":
        return f"[red]incident {number}[/red] {data['title']}. {data['findings'][0]['sentence']}"
    if event.type == "incident.resolved":
        return f"[green]incident {number} is over[/green]: {data['why']}"
    if event.type == "loop.transition":
        return f"[cyan]{data['before']} → {data['after']}[/cyan] {data['sentence']}"
    return ""
