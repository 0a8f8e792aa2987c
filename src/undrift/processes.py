"""Child processes that end with their parent, ports, and who holds a role: what `undrift up` and the demo stand on."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from undrift.core.errors import Conflict, Unavailable

__all__ = [
    "Child",
    "answers",
    "check_port",
    "end_with_parent",
    "ended",
    "free_port",
    "role_holder",
    "start_child",
    "wait_ready",
]

_PARENT = "UNDRIFT_PARENT"
_PR_SET_PDEATHSIG = 1
_LOG_LIMIT_BYTES = 10 << 20
_TAIL_BYTES = 8 << 10


class Child:
    """A process that `start_child` started.

    Attributes:
        args: What it was started with.
        log: The file that takes all it says.
        process: The process.
    """

    def __init__(self, args: Sequence[str], log: Path, process: subprocess.Popen[bytes], log_start: int) -> None:
        self.args = tuple(args)
        self.log = log
        self.process = process
        self._log_start = log_start

    @property
    def exit_code(self) -> int | None:
        """How it ended: an exit code, or less than 0 for the signal that ended it; None while it runs."""
        return self.process.poll()

    def said(self, *, everything: bool = False) -> str:
        """Return what it has said since its start: the last of it, or everything."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(self._log_start if everything else max(self._log_start, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")

    def last_lines(self, count: int = 10) -> str:
        """Return its last lines."""
        return "\n".join(self.said().strip().splitlines()[-count:])

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Ask it to end (SIGTERM), and kill it when it does not; returns whether it ended by itself."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """End it at once, with the processes it may have started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_child(args: Sequence[str], log: Path) -> Child:
    """Start ``undrift`` with some arguments, as a process of its own that ends with this one, even on ``kill -9``.

    It is in a process group of its own, so that a Ctrl-C in the terminal reaches the parent alone, which stops its
    children in order. Linux ends it when the *thread* that started it ends: start it from one that lives long.

    Args:
        args: What follows ``undrift``, such as ``["serve", "--workspace", folder]``.
        log: Takes what it says, after what is there; put aside as ``*.log.1`` when it has grown long.

    Raises:
        Unavailable: The log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(log.name + ".1"))
        with log.open("ab") as file:
            log_start = file.tell()
            # -P: a file in the folder of the user, such as queue.py, must not stand in for the interpreter's own.
            process = subprocess.Popen(  # noqa: S603 - this interpreter, and arguments from here
                [sys.executable, "-P", "-m", "undrift", *args],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {_PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
                process_group=0,
            )
            return Child(args, log, process, log_start)
    except OSError as error:
        raise Unavailable(
            f"`undrift {' '.join(args)}` cannot be started: {error.strerror} ({error.filename}).",
            next_step="Check permissions and free space.",
        ) from None


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends; the first thing a child does."""
    parent = int(os.environ.pop(_PARENT))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have ended before the kernel was told.
    if os.getppid() != parent:
        os._exit(1)


def answers(url: str, timeout_s: float = 1.0, *, whatever: bool = False) -> bool:
    """Return whether a GET of this address is answered: with success, or ``whatever`` the answer is."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status < 300 or whatever
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_ready(url: str, timeout_s: float, child: Child | None = None) -> None:
    """Wait until an address answers.

    Args:
        url: What to ask, such as ``http://127.0.0.1:7471/health``.
        timeout_s: Seconds to wait at most.
        child: The process that should answer: when it ends, waiting ends.

    Raises:
        Unavailable: It did not answer in time, or the child ended; the sentence has the child's last lines.
    """
    deadline = time.monotonic() + timeout_s
    while not answers(url):
        if child is not None and child.exit_code is not None:
            raise ended(child)
        if time.monotonic() > deadline:
            said = "" if child is None else f" It said last:\n{child.last_lines()}"
            raise Unavailable(f"{url} did not answer within {timeout_s:g} s.{said}")
        time.sleep(0.05)


def ended(child: Child) -> Unavailable:
    """Return the error that says how a child ended, with its last lines."""
    said = child.last_lines()
    return Unavailable(
        f"`undrift {child.args[0]}` ended with exit code {child.exit_code}" + (f":\n{said}" if said else "."),
        next_step=f"Its log is {child.log}.",
        exit_code=child.exit_code,
    )


def check_port(port: int, option: str = "--port", host: str = "127.0.0.1") -> None:
    """Return when nobody listens at a port.

    Raises:
        Conflict: Somebody does; the sentence says who, as far as this user may know.
        Unavailable: This user may not listen there.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"Port {port} of {host} is in use by {listener(port)}.",
                next_step=f"Stop it, or choose another port with {option}.",
                port=port,
            ) from None
        raise Unavailable(
            f"{host}:{port} cannot be listened at: {error.strerror}.",
            next_step=f"Choose a port above 1023 with {option}.",
        ) from None


def listener(port: int) -> str:
    """Return who listens at a port, in words."""
    import psutil  # noqa: PLC0415 - 20 ms that only an error needs

    try:
        found = [one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port]
        pid = next(one.pid for one in found if one.pid)
        name = " ".join(psutil.Process(pid).cmdline()[-4:]) or psutil.Process(pid).name()
    except (psutil.Error, StopIteration, OSError):
        return "another process"
    return f"process {pid} ({name})"


def free_port() -> int:
    """Return a port at which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def role_holder(folder: Path, role: str) -> int | None:
    """Return the process that holds a role of a workspace; None when nobody does.

    Asked of the kernel: trying to take the role, however briefly, would keep a process that starts just then from it.
    """
    try:
        inode = (folder / f"{role}.lock").stat().st_ino
        held = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    for line in held.splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return int(words[4])
    return None
