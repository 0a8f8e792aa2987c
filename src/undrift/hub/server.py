"""Runs the hub: one process that listens, answers, and ends cleanly."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from undrift.core.errors import Conflict, Forbidden, Invalid, Unavailable, UndriftError
from undrift.core.hosts import is_loopback
from undrift.hub.app import Hub, build_app
from undrift.workspace import Workspace

__all__ = ["DEFAULT_PORT", "run"]

DEFAULT_PORT = 7470

# Addresses that stand for all there are, and how this machine calls itself then.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - named, not listened at
_CONNECTIONS = 1024
_HEADERS_MS = 10_000
_READY_S = 10.0
_GRACE_S = 20.0
_LAST_S = 0.5
_TICK_S = 0.02
_log = logging.getLogger("undrift.hub")


def run(
    folder: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    allowed_hosts: Collection[str] = (),
    on_ready: Callable[[str], None] | None = None,
    insecure_no_login: bool = False,
) -> None:
    """Run the hub of a workspace until SIGINT or SIGTERM; requests in flight are answered before it ends.

    To be called in the main thread of a process of its own: when a client holds a connection open that will not end,
    this process is ended here, with exit code 0, after everything has been closed.

    Args:
        folder: The workspace.
        host: The address to listen at.
        port: The port; 0 for any that is free.
        allowed_hosts: Names it answers to besides those of this machine.
        on_ready: Called with the hub's address once it answers.
        insecure_no_login: Listen where others than this machine can reach it, although there is no login yet.

    Raises:
        Forbidden: The address is not one of this machine alone, and ``insecure_no_login`` is off.
        Conflict: The port is in use.
        Unavailable: This user may not listen there, or the workspace cannot be used.
        NotFound: There is no workspace there.
    """
    address = _address(host)
    if not is_loopback(address) and not insecure_no_login:
        raise Forbidden(
            f"Listening at {host} would give this workspace to everybody who can reach that address: "
            "the hub has no login yet.",
            next_step="Listen at 127.0.0.1 and come through an SSH tunnel, or say --insecure-no-login.",
        )
    with _reserve(address, port) as reserved:
        bound: int = reserved.getsockname()[1]
        workspace = Workspace.open(folder)
        try:
            app = build_app(
                workspace,
                # Nobody is called 0.0.0.0, but some browsers let pages of other sites reach this machine by that name.
                allowed_hosts={*allowed_hosts, address} - _EVERYWHERE.keys(),
                insecure_no_login=not is_loopback(address),
            )
            _say_to_stderr()
            if address in _EVERYWHERE and not allowed_hosts:
                _log.warning("Others can come, but are turned away: name what they call this machine (--allow-host).")
            shown = _EVERYWHERE.get(address, address)
            url = f"http://{f'[{shown}]' if ':' in shown else shown}:{bound}"
            clean = asyncio.run(_serve(app, address, bound, lambda: on_ready(url) if on_ready else None))
        finally:
            workspace.close()
    if not clean:
        # A connection that a client keeps half-open lives in a thread that would break off the interpreter's end.
        _leave()


def _address(host: str) -> str:
    name = host.strip("[]")
    if name == "localhost":
        return "127.0.0.1"
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        raise Invalid(
            f"{host!r} is not an address to listen at.", next_step="Give a number, such as 127.0.0.1 or ::1."
        ) from None
    return str(found[0][4][0])


def _reserve(address: str, port: int) -> socket.socket:
    """Return a socket that is bound to the port but does not listen, so that nobody takes it before the server does.

    The server listens with SO_REUSEPORT, which would let two hubs share a port without a word. A first socket without
    it finds out whether anybody is there.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    probe, reserved = socket.socket(family), socket.socket(family)
    try:
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((address, port))
    except (OSError, OverflowError) as error:
        reserved.close()
        raise _cannot_listen(address, port, error) from None
    return reserved


def _cannot_listen(address: str, port: int, error: OSError | OverflowError) -> UndriftError:
    if isinstance(error, OverflowError):
        return Invalid(f"{port} is not a port.", next_step="Ports go from 0 (any that is free) to 65535.")
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"Port {port} of {address} is in use.",
            next_step=f"Stop what listens there, or choose another port, such as {port % 65_000 + 1}.",
            port=port,
        )
    return Unavailable(
        f"The hub cannot listen at {address}, port {port}: {error.strerror}.",
        next_step="Choose an address of this machine, and a port above 1023.",
    )


async def _serve(app: Hub, address: str, port: int, ready: Callable[[], None]) -> bool:
    """Serve until told to stop; returns whether every connection has ended."""
    server = Server(
        app,
        address=address,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADERS_MS),
        websockets=False,
        backlog=_CONNECTIONS,
        backpressure=_CONNECTIONS,
        log_enabled=False,
    )
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(asked.wait())
    try:
        await _until_it_listens(serving, address, port)
        ready()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
            raise UndriftError("The hub stopped listening by itself.", next_step="Its log says why.")
        return await _stop(server, app, serving)
    finally:
        stopping.cancel()


async def _until_it_listens(serving: asyncio.Task[None], address: str, port: int) -> None:
    until = time.monotonic() + _READY_S
    while not serving.done():
        with suppress(OSError):
            _, writer = await asyncio.open_connection(address, port)
            writer.close()
            return
        if time.monotonic() > until:
            raise Unavailable(f"The hub does not answer at {address}, port {port}.", next_step="Try another port.")
        await asyncio.sleep(_TICK_S / 4)


async def _stop(server: Server, app: Hub, serving: asyncio.Task[None]) -> bool:
    server.stop()  # type: ignore[no-untyped-call]  # it has no types
    app.guard.stopping = True
    idle = asyncio.ensure_future(app.guard.idle())
    await asyncio.wait({serving, idle}, timeout=_GRACE_S, return_when=asyncio.FIRST_COMPLETED)
    idle.cancel()
    # What is left has asked nothing: connections kept for later end at once, half-open ones only when they time out.
    await asyncio.wait({serving}, timeout=_LAST_S)
    if not serving.done():
        _log.info("Ending although a client holds a connection open.")
    return serving.done()


def _say_to_stderr() -> None:
    root = logging.getLogger("undrift")
    if not logging.getLogger().handlers and not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)


def _leave() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)
