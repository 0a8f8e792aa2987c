"""The process is killed at a random moment under load; what it was told to be done is there, once."""

from __future__ import annotations

import importlib.util
import random
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from undrift.events import VerifyLog, read_after, verify_log


@pytest.fixture(scope="module")
def writers():
    """The module that the killed process runs."""
    spec = importlib.util.spec_from_file_location("writers", Path(__file__).parents[1] / "writers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_acknowledged_write_is_lost_and_none_is_kept_twice(database, make_ctx, start_writers, writers, seed):
    until = random.Random(seed).randrange(1, 250)
    process = start_writers(database, f"victim{seed}", threads=16)
    tried, done = set(), set()
    for line in process.stdout:
        word, key = line.split()
        (tried if word == "try" else done).add(key)
        if len(done) == until and process.poll() is None:
            # What it said before it died lies in the pipe still, and counts.
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(done) >= until, f"seed {seed}: the writers ended by themselves"
    wait_until_gone(database, f"victim{seed}")

    found = keys(database)
    assert len(found) == len(set(found)), f"seed {seed}: an event was written twice"
    assert done <= set(found), f"seed {seed}: acknowledged, but lost: {sorted(done - set(found))}"
    assert set(found) <= tried

    # Whoever got no answer asks again with the same key.
    for key in sorted(tried - done):
        assert writers.add(writers.context(database, key), writers.Add(key)) == writers.Add(key)
    assert sorted(keys(database)) == sorted(tried), f"seed {seed}: not each once"
    assert verify_log(make_ctx(database), VerifyLog()).ok


def keys(database):
    with database.read() as tx:
        return [event.subject.removeprefix("probes/") for event in read_after(tx, 0, limit=100_000)]


def wait_until_gone(database, name):
    """Wait until PostgreSQL has noticed that its client died; until then a commit may be under way."""
    if database.url.get_backend_name() == "sqlite":
        return
    alive = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    end = time.monotonic() + 10
    while True:
        with database.read() as tx:
            if not tx.scalar(alive, {"name": name}):
                return
        assert time.monotonic() < end, "the server still holds connections of the killed process"
        time.sleep(0.005)
