"""A PostgreSQL of the test's own is restarted, and killed, while sixteen writers write through a hub."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from undrift.processes import free_port
from undrift.workspace import Settings, Workspace


class Server:
    """A PostgreSQL on a port and in a folder of its own; run by `postgres`, for it refuses to be run by root."""

    def __init__(self, programs, folder, port):
        self.programs = programs
        self.data = folder / "data"
        self.port = port
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(folder, self.user)
        self.do("initdb", "-U", "postgres", "-A", "trust", "-D", self.data)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"port = {port}\nunix_socket_directories = '{folder}'\n")
        self.start()

    def do(self, program, *args):
        command = [str(self.programs / program), *map(str, args)]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        # Not through pipes: the server would keep them open.
        done = subprocess.run(
            command, user=self.user, env=environment, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert done.returncode == 0, command

    def start(self):
        self.do("pg_ctl", "-D", self.data, "-w", "-l", self.data / "log", "start")

    def stop(self, mode):
        self.do("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")


def programs():
    """The folder of PostgreSQL's programs; they are often not on the path."""
    beside = [Path(found).resolve().parent for name in ("initdb", "pg_ctl") if (found := shutil.which(name))]
    for folder in (*beside, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)):
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    return None


@pytest.fixture
def server():
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    if os.geteuid() == 0:
        pwd.getpwnam("postgres")
    folder = Path(tempfile.mkdtemp(prefix="undrift-postgresql-", dir="/tmp"))
    made = Server(found, folder, free_port())
    yield made
    made.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture
def folder(server, tmp_path):
    """The folder of a workspace on that server."""
    settings = Settings(database=f"postgresql://postgres@127.0.0.1:{server.port}/postgres")
    Workspace.open(tmp_path / "workspace", create=True, settings=settings).close()
    return tmp_path / "workspace"


@pytest.mark.slow
def test_a_database_that_is_restarted_under_load_loses_nothing_acknowledged_and_keeps_nothing_twice(
    storm, server, examine
):
    _hubs, writers = storm(2)

    def acknowledged():
        return sum(len(writer.acknowledged) for writer in writers)

    for mode in ("fast", "immediate", "fast"):  # immediate: as a crash, the log is read again at the start
        before = acknowledged()
        until = time.monotonic() + 20
        while acknowledged() < before + 32:
            assert time.monotonic() < until, "writing did not go on"
            time.sleep(0.05)
        server.stop(mode)
        time.sleep(0.5)
        server.start()
    before = acknowledged()
    time.sleep(2)
    assert acknowledged() > before, "writing did not go on"
    storm.stop()
    examine(writers)
    assert sum(writer.repeated for writer in writers) > 0, "no request was hit: the test has shown nothing"
