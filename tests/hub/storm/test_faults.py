"""Sixteen writers and a hub that is killed: nothing that was acknowledged is lost, and nothing is there twice."""

from __future__ import annotations

import random
import time

import msgspec
import pytest
import sqlalchemy as sa

from undrift.workspace import Settings


@pytest.mark.slow
def test_a_hub_killed_at_any_moment_loses_nothing_acknowledged_and_keeps_nothing_twice(storm, examine):
    (hub,), writers = storm()
    choose = random.Random(7)
    for _ in range(3):
        time.sleep(choose.uniform(0.2, 0.8))
        hub.kill()
        hub.start()
    time.sleep(0.5)
    storm.stop()
    examine(writers)
    assert sum(writer.repeated for writer in writers) > 0, "no request was hit: the test has shown nothing"


@pytest.mark.slow
def test_writers_go_on_when_every_connection_to_the_database_is_cut(storm, folder, examine):
    settings = msgspec.json.decode((folder / "workspace.json").read_bytes(), type=Settings)
    _hubs, writers = storm()
    if settings.database:
        url = sa.make_url(settings.database).set(drivername="postgresql+psycopg")
        admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        for _ in range(3):
            time.sleep(0.5)
            with admin.connect() as connection:
                # Every connection breaks, and for a while there is no new one.
                connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
                connection.execute(sa.text(cut), {"name": url.database})
                time.sleep(0.5)
                connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true")
    else:
        # SQLite has no connections to cut: another process holds its lock instead.
        for _ in range(3):
            time.sleep(0.5)
            locker = sa.create_engine(f"sqlite:///{folder / 'undrift.db'}")
            with locker.connect() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                time.sleep(0.5)
            locker.dispose()
    time.sleep(1)
    before = sum(len(writer.acknowledged) for writer in writers)
    time.sleep(1)
    assert sum(len(writer.acknowledged) for writer in writers) > before, "writing did not go on"
    storm.stop()
    examine(writers)


@pytest.mark.slow
def test_two_hubs_on_one_workspace_lose_nothing_and_keep_nothing_twice(storm, examine):
    _hubs, writers = storm(2)
    time.sleep(2)
    storm.stop()
    examine(writers)
