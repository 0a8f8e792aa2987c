"""Runs a model server in this process: Granian's server in this process's event loop, and a clean end.

Granian can also start worker processes. For one worker that is a second process to watch over, it was no faster where
both were measured, and told to end while it was starting it did not end.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import resource
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from undrift.core.errors import Conflict, Invalid, Unavailable
from undrift.serving.app import App, build_app

__all__ = ["App", "build_app", "run"]

_HEADERS_MS = 10_000
_BACKLOG = 1024
_CONNECTIONS = 4096


def run(
    make_app: Callable[[], App],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str, int], None] = lambda _host, _port: None,
) -> None:
    """Serve until the process is told to end (SIGINT or SIGTERM); requests in flight are answered first.

    Args:
        make_app: Makes the application, once the port is known to be free.
        host: Address to listen at.
        port: Port to listen at; 0 for any that is free.
        on_ready: Called with address and port when requests are answered.

    Raises:
        Conflict: Somebody listens at that port already; the application was not made.
        Unavailable: The address cannot be listened at.
    """
    with _reserve(host, port) as reserved:
        _allow_connections()
        app = make_app()
        asyncio.run(_serve(app, reserved, host, on_ready))


def _allow_connections() -> None:
    # The usual soft limit of 1,024 files would be met by as many idle clients.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * _CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 4 * _CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _reserve(host: str, port: int) -> socket.socket:
    """Hold a free port: nobody else gets it while the application is made, and Granian may share it."""
    if not 0 <= port <= 65_535:
        raise Invalid(f"{port} is no port.", next_step="Choose one between 1 and 65535, or 0 for any that is free.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        if port:
            # Without SO_REUSEPORT this fails where anybody listens, who may share it, too: two servers on one port
            # would each get half of the requests.
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"Port {port} of {host} is in use.",
                next_step="Stop the process that listens there, or choose another port with --port (0 for any).",
                port=port,
            ) from None
        raise Unavailable(
            f"{host}:{port} cannot be listened at: {error.strerror or error}.",
            next_step="Choose an address of this machine, and a port above 1023.",
        ) from None
    return reserved


async def _serve(app: App, reserved: socket.socket, host: str, on_ready: Callable[[str, int], None]) -> None:
    from granian.constants import HTTPModes, Interfaces  # noqa: PLC0415 - only a server needs it
    from granian.http import HTTP1Settings  # noqa: PLC0415 - the same
    from granian.server.embed import Server  # noqa: PLC0415 - the same

    port: int = reserved.getsockname()[1]
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADERS_MS),
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_CONNECTIONS,
        log_enabled=False,
    )
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_, server.stop)
    app.start()
    # What is here now stays: the collector need not look through it while predictions wait.
    gc.collect()
    gc.freeze()
    announcing = loop.create_task(_announce(host, port, on_ready))
    before = _threads()
    try:
        await server.serve()
    finally:
        announcing.cancel()
        app.close()
        await _threads_ended(before)


def _threads() -> set[str]:
    try:
        return {path.name for path in Path("/proc/self/task").iterdir()}
    except OSError:
        return set()


async def _threads_ended(before: set[str]) -> None:
    # Granian's own threads end a moment after it says so. One that comes back to an interpreter that is being taken
    # down aborts the process.
    for _ in range(100):
        ours = {str(thread.native_id) for thread in threading.enumerate()}
        if not _threads() - before - ours:
            return
        await asyncio.sleep(0.01)


async def _announce(host: str, port: int, on_ready: Callable[[str, int], None]) -> None:
    # Granian tells when it begins to start, not when it answers.
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.005)
            continue
        writer.close()
        on_ready(host, port)
        return
