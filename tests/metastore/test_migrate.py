from __future__ import annotations

import importlib
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import alembic.autogenerate
import alembic.command
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import undrift
from undrift.core.errors import Unavailable
from undrift.metastore import metadata, migrate, open_database

# The door's function hides the module of the same name.
module = importlib.import_module("undrift.metastore.migrate")
VERSIONS = Path(module.__file__).parent / "migrations" / "versions"


@pytest.fixture
def sqlite_database(tmp_path):
    """An empty file, in place of one that has all tables."""
    database = open_database(f"sqlite:///{tmp_path}/undrift.db")
    yield database
    database.close()


@pytest.fixture
def postgres_database(postgres_url):
    """An empty database, in place of one that has all tables."""
    database = open_database(postgres_url)
    empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
    with database.begin() as tx:
        tx.exec_driver_sql(empty)
    yield database
    with database.begin() as tx:
        tx.exec_driver_sql(empty)
    database.close()


def tables(database):
    with database.read() as tx:
        return set(sa.inspect(tx).get_table_names())


def shape(tx):
    """All that a migration could get wrong and that Alembic's comparison passes over: names, keys, defaults."""
    inspector = sa.inspect(tx)
    return {
        table: {
            "columns": {
                each["name"]: (str(each["type"]), each["nullable"], each["default"])
                for each in inspector.get_columns(table)
            },
            "primary key": inspector.get_pk_constraint(table),
            "foreign keys": sorted(inspector.get_foreign_keys(table), key=str),
            "unique": sorted(inspector.get_unique_constraints(table), key=str),
            "checks": sorted(inspector.get_check_constraints(table), key=str),
            "indexes": sorted(inspector.get_indexes(table), key=str),
        }
        for table in inspector.get_table_names()
    }


def import_all_tables():
    root = Path(undrift.__file__).parent
    for file in sorted(root.glob("*/**/tables.py")):
        importlib.import_module(".".join(("undrift", *file.relative_to(root).with_suffix("").parts)))


def mark(database, target):
    with database.begin() as tx:
        tx.exec_driver_sql("CREATE TABLE migration_in_progress (target VARCHAR(32) NOT NULL)")
        tx.exec_driver_sql(f"INSERT INTO migration_in_progress VALUES ('{target}')")


def test_migrations_are_numbered_without_gaps_and_the_newest_is_known():
    script = ScriptDirectory.from_config(module._config())
    revisions = [each.revision for each in reversed(list(script.walk_revisions()))]
    assert revisions == [f"{n:04}" for n in range(1, len(revisions) + 1)]
    assert script.get_heads() == [module.HEAD]
    names = sorted(file.name for file in VERSIONS.glob("*.py"))
    assert [name[:4] for name in names] == revisions
    assert all(re.fullmatch(r"\d{4}_[a-z0-9_]+\.py", name) for name in names)


def test_a_migrated_database_has_exactly_the_tables_of_all_rooms(database):
    import_all_tables()
    migrate(database)
    assert tables(database) == {*metadata.tables, "alembic_version"}
    with database.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": True})
        assert alembic.autogenerate.compare_metadata(context, metadata) == []
        migrated = shape(tx)
    with database.begin() as tx:
        metadata.drop_all(tx)
        metadata.create_all(tx)
    with database.read() as tx:
        assert shape(tx) == migrated


def test_a_database_is_behind_until_it_is_migrated_once(database):
    assert module.check(database) is False
    migrate(database)
    assert module.check(database) is True
    changes = []
    sa.event.listen(database._writer, "begin", changes.append)
    migrate(database)
    assert changes == [], "the second time nothing is opened to write"


def test_an_interrupted_migration_is_refused_until_it_is_repaired(database):
    mark(database, "0001")
    for attempt in (module.check, migrate):
        with pytest.raises(Unavailable, match=r"A migration of .* to 0001 was interrupted\.") as caught:
            attempt(database)
        assert "undrift doctor --repair" in caught.value.next_step
    assert tables(database) == {"migration_in_progress"}
    migrate(database, repair=True)
    assert module.check(database) is True
    assert "migration_in_progress" not in tables(database)


def test_a_migration_that_fails_changes_nothing_and_is_finished_by_a_repair(database, monkeypatch):
    upgrade = alembic.command.upgrade

    def fail(config, revision):
        upgrade(config, revision)
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(alembic.command, "upgrade", fail)
        with pytest.raises(ZeroDivisionError):
            migrate(database)
    assert tables(database) == {"migration_in_progress"}
    with pytest.raises(Unavailable, match="was interrupted"):
        migrate(database)
    migrate(database, repair=True)
    assert module.check(database) is True


@pytest.mark.parametrize("repair", [False, True])
def test_a_newer_database_is_refused_and_left_alone(database, repair):
    migrate(database)
    with database.begin() as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = tables(database)
    for attempt in (module.check, lambda database: migrate(database, repair=repair)):
        with pytest.raises(Unavailable, match=r"newer undrift \(schema 9999; this one knows up to \d{4}\)") as caught:
            attempt(database)
        assert "pip install --upgrade undrift" in caught.value.next_step
    assert tables(database) == before


def test_who_comes_while_another_migrates_waits_and_finds_it_done(database, monkeypatch):
    """It must not take the other's mark for that of an interrupted migration."""
    upgrade, inside, go_on, done = alembic.command.upgrade, threading.Event(), threading.Event(), []

    def slowly(config, revision):
        inside.set()
        assert go_on.wait(10)
        done.append(revision)
        upgrade(config, revision)

    monkeypatch.setattr(alembic.command, "upgrade", slowly)
    arrived = threading.Event()
    alone = module._alone

    def arriving(database):
        if inside.is_set():
            arrived.set()
        return alone(database)

    monkeypatch.setattr(module, "_alone", arriving)
    other = open_database(database.url.render_as_string(hide_password=False))
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(migrate, database)
        assert inside.wait(10)
        second = threads.submit(migrate, other)
        assert arrived.wait(10)
        go_on.set()
        first.result(20)
        second.result(20)
    other.close()
    assert done == ["head"]
    assert module.check(database) is True


def test_two_processes_that_start_together_migrate_once(database):
    url = database.url.render_as_string(hide_password=False)
    program = (
        "import sys; from undrift.metastore import migrate, open_database\n"
        "sys.stdin.readline(); database = open_database(sys.argv[1]); migrate(database); database.close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert module.check(database) is True
    with database.read() as tx:
        assert tx.scalars(sa.text("SELECT version_num FROM alembic_version")).all() == [module.HEAD]
