"""`undrift hub`, `undrift serve`, `undrift worker`: one process of a workspace, in the foreground."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from undrift.cli.options import HERE, Local, Port, workspace_folder
from undrift.cli.output import clean, say, show_json
from undrift.core.errors import Forbidden
from undrift.core.hosts import is_loopback

__all__ = ["hub", "serve", "worker"]

_STOP_S = 5.0
_LOOK_S = 0.2

_Host = Annotated[str, Parameter(help="Address to listen at.")]
_AllowHost = Annotated[
    tuple[str, ...],
    Parameter(name="--allow-host", help="Another name under which it may be asked; may be given several times."),
]
_NoLogin = Annotated[
    bool, Parameter(help="Listen beyond this machine although there is no login: whoever can reach it may do anything.")
]


def hub(
    *,
    port: Annotated[Port, Parameter(help="Port to listen at; 0 for any that is free.")] = 7470,
    host: _Host = "127.0.0.1",
    allow_host: _AllowHost = (),
    insecure_no_login: _NoLogin = False,
    where: Local = HERE,
) -> None:
    """Run the hub: pages, and every operation over HTTP."""
    # What is imported stays: looking through it for garbage, again and again, takes a tenth of the start.
    gc.disable()
    from undrift.hub.server import run

    gc.freeze()
    gc.enable()
    run(
        workspace_folder(where),
        host=host,
        port=port,
        allowed_hosts=allow_host,
        insecure_no_login=insecure_no_login,
        on_ready=lambda url: _ready("hub", url, as_json=where.as_json),
    )


def serve(
    *,
    port: Annotated[Port, Parameter(help="Port to listen at; 0 for any that is free.")] = 7471,
    host: _Host = "127.0.0.1",
    allow_host: _AllowHost = (),
    insecure_no_login: _NoLogin = False,
    where: Local = HERE,
) -> None:
    """Run a model server: it answers predictions, and goes on when everything else is down."""
    _check_host(host, insecure_no_login=insecure_no_login)
    from undrift.cli.routes import WorkspaceRoutes
    from undrift.core.clock import SystemClock
    from undrift.serving.server import App, build_app, run

    routes = WorkspaceRoutes(workspace_folder(where))

    def make_app() -> App:
        return build_app(
            routes,
            routes.workspace.predictions_folder,
            routes.workspace.serving_folder,
            SystemClock(),
            allowed_hosts=(*allow_host, host),
        )

    def on_ready(address: str, bound: int) -> None:
        url = f"http://{f'[{address}]' if ':' in address else address}:{bound}"
        _ready("serve", url, as_json=where.as_json)

    run(make_app, host=host, port=port, on_ready=on_ready)


def worker(*, where: Local = HERE) -> None:
    """Run the worker: it applies the project, observes, retrains and rolls out."""
    from undrift.worker import run
    from undrift.workspace import Workspace

    stop = threading.Event()
    workspace = Workspace.open(workspace_folder(where))
    failed: list[BaseException] = []

    def on_ready(endpoints: list[str]) -> None:
        if where.as_json:
            show_json({"url": None, "endpoints": endpoints}, out)
        else:
            print(f"undrift worker: ready ({', '.join(endpoints) or 'no endpoints'})", file=out, flush=True)

    def work() -> None:
        try:
            run(workspace, stop, say=_log, on_ready=on_ready)
        except BaseException as error:  # noqa: BLE001 - it is raised again where it can be told
            failed.append(error)

    # A handler may run while this thread is inside the event's own lock: it only takes a note.
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: asked.append(number))
    out = sys.stdout
    # What the user's code prints is no answer of this command.
    with contextlib.redirect_stdout(sys.stderr):
        # In a thread, so that a signal is heeded in the middle of a training.
        thread = threading.Thread(target=work, name="undrift-worker", daemon=True)
        thread.start()
        while thread.is_alive() and not asked:
            # Not for ever: once polars is loaded, a Ctrl-C does not interrupt a thread that waits for a lock.
            thread.join(_LOOK_S)
        stop.set()
        thread.join(_STOP_S)
    if thread.is_alive():
        _log("A turn of the loop is cut off; it is resumed at the next start.")
        sys.stderr.flush()
        os._exit(0)
    workspace.close()
    if failed:
        raise failed[0]


def _ready(what: str, url: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"url": url})
    else:
        say(f"undrift {what}: {url}")


def _log(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {clean(text)}", file=sys.stderr, flush=True)


def _check_host(host: str, *, insecure_no_login: bool) -> None:
    if host != "localhost" and not is_loopback(host) and not insecure_no_login:
        raise Forbidden(
            f"Listening at {host} would let everybody who can reach it ask the models: there is no login yet.",
            next_step="Listen at 127.0.0.1 behind something that has one, or say --insecure-no-login.",
        )
