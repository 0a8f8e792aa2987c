"""Fixtures that every room's tests may use: databases on both engines, and a context to call operations with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa

from undrift.core import Actor, Context, ReplayClock
from undrift.events import EventLog
from undrift.metastore import SqlDatabase, metadata, open_database

POSTGRES_URL = os.environ.get("UNDRIFT_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
START = datetime(2013, 1, 1, tzinfo=UTC)

pytest.register_assert_rewrite("undrift.testing.metastore")

# A shell starts what it puts into the background with SIGINT ignored, and children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time, so that a failure is one for everybody.
hypothesis.settings.register_profile("undrift", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("undrift")


# A file with all tables, by how many those are: making them takes longer than most tests.
_sqlite_files: dict[int, bytes] = {}


class AllowAll:
    """A policy that asks nobody."""

    def check(self, actor, permission):
        pass


@pytest.fixture(scope="session")
def postgres_url(worker_id):
    """The address of an empty PostgreSQL database that lives as long as this session."""
    try:
        admin = sa.create_engine(
            sa.make_url(POSTGRES_URL).set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
            connect_args={"connect_timeout": 3},
        )
        with admin.connect() as connection:
            _drop_forgotten(connection)
            name = f"undrift_test_{worker_id}_{os.getpid()}"
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    except sa.exc.OperationalError as error:
        pytest.skip(f"no PostgreSQL answers at {POSTGRES_URL}: {str(error.orig).splitlines()[0]}")
    yield str(sa.make_url(POSTGRES_URL).set(database=name).render_as_string(hide_password=False))
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def _drop_forgotten(connection):
    # A session that was killed leaves its database behind; its name ends in the number of the process.
    for (name,) in connection.exec_driver_sql("SELECT datname FROM pg_database").all():
        if name.startswith("undrift_test_") and not Path(f"/proc/{name.rpartition('_')[2]}").exists():
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def sqlite_database(tmp_path):
    """A fresh SQLite database with the tables of all rooms that this session has imported."""
    path = tmp_path / "undrift.db"
    if len(metadata.tables) not in _sqlite_files:
        database = open_database(f"sqlite:///{path}")
        with database.begin() as tx:
            metadata.create_all(tx)
        database.close()
        _sqlite_files[len(metadata.tables)] = path.read_bytes()
    path.write_bytes(_sqlite_files[len(metadata.tables)])
    database = open_database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture
def postgres_database(postgres_url):
    """A PostgreSQL database with empty tables of all rooms that this session has imported."""
    database = open_database(postgres_url)
    with database.begin() as tx:
        if metadata.tables.keys() - sa.inspect(tx).get_table_names():
            metadata.create_all(tx)
        # A truncation would cost several flushes a table.
        tx.exec_driver_sql(";".join(f'DELETE FROM "{table.name}"' for table in reversed(metadata.sorted_tables)))
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request) -> SqlDatabase:
    """The same test on both engines."""
    return request.getfixturevalue("sqlite_database" if request.param == "sqlite" else "postgres_database")


@pytest.fixture
def repository(tmp_path):
    """A repository on a local folder."""
    from undrift.blobs import Repository, open_store

    return Repository(open_store(str(tmp_path / "blobs")))


@pytest.fixture
def make_ctx(repository):
    """Make a context on a database; what is not given is an allow-all policy, a clock at 2013-01-01 and so on."""

    def make(database, **given):
        parts = {
            "actor": Actor("ada"),
            "clock": ReplayClock(START),
            "database": database,
            "repository": repository,
            "policy": AllowAll(),
            "events": EventLog(),
        }
        return Context(**(parts | given))

    return make


@pytest.fixture
def ctx(sqlite_database, make_ctx):
    """A context on a fresh SQLite database: actor ada, everything allowed, the clock stands at 2013-01-01."""
    return make_ctx(sqlite_database)


@pytest.fixture
def unused_port():
    """A port of this machine on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def start_writers():
    """Start `tests/writers.py` in a process of its own; what still runs at the end is killed."""
    started = []

    def start(database, name, threads, events=0):
        url = database.url.set(query={"application_name": name} if "postgresql" in database.url.drivername else {})
        command = [sys.executable, str(Path(__file__).with_name("writers.py"))]
        command += [url.render_as_string(hide_password=False), name, str(threads), str(events)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
