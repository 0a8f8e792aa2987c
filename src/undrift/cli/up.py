"""`undrift up`: hub, worker and model server of a workspace, as processes that are kept running."""

from __future__ import annotations

import os
import signal
import time
from typing import Annotated, Any

from cyclopts import Parameter

from undrift import __version__
from undrift.cli.options import HERE, Local, Port, workspace_folder
from undrift.cli.output import say, show_error, show_json
from undrift.core.errors import Invalid

__all__ = ["up"]

_LOOK_S = 0.1


def up(
    *,
    port: Annotated[Port, Parameter(help="Port of the hub; 0 for any that is free.")] = 7470,
    serve_port: Annotated[Port, Parameter(help="Port of the model server; 0 for any that is free.")] = 7471,
    where: Local = HERE,
) -> None:
    """Run hub, worker and model server, and keep them running until Ctrl-C."""
    from undrift.cli.supervise import Process, Supervisor
    from undrift.processes import check_port, free_port
    from undrift.workspace import Workspace

    folder = workspace_folder(where)
    # Opening makes the tables: the processes would otherwise all want to, at once.
    workspace = Workspace.open(folder)
    workspace.close()
    with workspace.hold("up"):
        if port == serve_port != 0:
            raise Invalid("Hub and model server need a port each.", next_step="Give --port and --serve-port two.")
        port, serve_port = port or free_port(), serve_port or free_port()
        check_port(port, "--port")
        check_port(serve_port, "--serve-port")
        logs = folder / "logs"
        hub_url, serve_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{serve_port}"
        here = ["--workspace", str(folder)]
        processes = [
            Process("hub", ["hub", "--port", str(port), *here], logs / "hub.log", url=hub_url),
            Process("worker", ["worker", *here], logs / "worker.log"),
            Process("serve", ["serve", "--port", str(serve_port), *here], logs / "serve.log", url=serve_url),
        ]
        supervisor = Supervisor(processes, _tell_json if where.as_json else _tell)
        asked, announced = _note_signals(), False
        if not where.as_json:
            say(f"undrift {__version__} on {folder}")
        try:
            while not asked:
                supervisor.look()
                if supervisor.complete and not announced:
                    announced = True
                    _announce(as_json=where.as_json, hub_url=hub_url, serve_url=serve_url, logs=str(logs))
                time.sleep(_LOOK_S)
        finally:
            if not where.as_json:
                say("Stopping.")
            killed = supervisor.stop()
            if killed:
                show_error(f"Had to be killed: {', '.join(killed)}.", f"Their logs are in {logs}.")


def _note_signals() -> list[int]:
    """Return a list that the signals which ask for an end are put into."""
    asked: list[int] = []

    def on_signal(number: int, _frame: Any) -> None:
        if asked and number == signal.SIGINT:
            # Asked twice: the kernel takes the children along.
            os._exit(130)
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup, whoever started it has asked for it to stay.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, on_signal)
    return asked


def _announce(*, as_json: bool, hub_url: str, serve_url: str, logs: str) -> None:
    if as_json:
        show_json({"state": "ready", "hub": hub_url, "serve": serve_url, "logs": logs})
        return
    say(f"Pages and API: {hub_url}   Predictions: {serve_url}")
    say(f"Logs are in {logs}. Ctrl-C stops all.")


def _tell_json(name: str, state: str, facts: dict[str, Any]) -> None:
    show_json({"process": name, "state": state} | facts)


def _tell(name: str, state: str, facts: dict[str, Any]) -> None:
    if state == "ready":
        say(f"  {name:<7} ready  {facts['url'] or ''}".rstrip())
    elif "again_in_s" in facts:
        say(f"  {name:<7} ended ({facts['exit_code']}), starts again in {facts['again_in_s']:g} s; see {facts['log']}")
    else:
        say(f"  {name:<7} {state}; the others go on.")
        show_error(facts["detail"], facts["next_step"])
