"""What a folder adds to the contract: what is on disk, in which order, and who may see it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from undrift.blobs import Repository, open_store
from undrift.core.errors import Conflict

DAY_S = 24 * 3600


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return open_store(str(root))


def temporary_files(root):
    return list((root / ".tmp").iterdir())


def test_opening_a_store_makes_nothing(root, store):
    assert list(store.list()) == []
    assert store.size("a") is None
    store.delete("a")
    assert not root.exists()


def test_files_and_folders_are_private(root, store):
    umask = os.umask(0)
    try:
        store.write("a/b/c", b"1")
        store.swap("refs/x", None, b"2")
    finally:
        os.umask(umask)
    modes = {path: path.stat().st_mode & 0o777 for path in [root, *root.rglob("*")]}
    assert {path: mode for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}


def test_a_fetched_file_is_private(store, tmp_path):
    objects = Repository(store).objects
    objects.fetch(objects.put(b"1"), tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_a_key_is_a_file_of_that_name(root, store):
    store.write("a/b", b"1")
    assert (root / "a" / "b").read_bytes() == b"1"


def test_no_temporary_file_stays(root, store):
    store.write("a", b"1")
    store.swap("a", b"1", b"2")
    store.swap("a", b"no", b"3")
    with pytest.raises(ZeroDivisionError):
        store.write("a", (b"x" * (1 // n) for n in [1, 0]))
    assert temporary_files(root) == []


def test_leftovers_are_not_listed_and_are_swept_after_a_day(root, store):
    store.write("a", b"1")
    young, old = root / ".tmp" / "young", root / ".tmp" / "old"
    for path, age_s in ((young, DAY_S - 60), (old, DAY_S + 60)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_s,) * 2)
    assert list(store.list()) == [("a", 1)]
    assert list(open_store(str(root)).list()) == [("a", 1)]
    assert temporary_files(root) == [young]


def test_foreign_names_are_not_listed(root, store):
    store.write("a", b"1")
    (root / "lost+found").mkdir()
    (root / ".DS_Store").write_bytes(b"")
    (root / "not a key").write_bytes(b"")
    assert list(store.list()) == [("a", 1)]


def test_a_file_that_goes_while_it_is_listed_is_left_out(store, monkeypatch):
    for key in "abc":
        store.write(key, b"1")
    listing = store.list()
    first = next(listing)
    for key in {"a", "b", "c"} - {first[0]}:
        store.delete(key)
    assert list(listing) == []


def test_data_is_on_disk_before_the_name_and_the_name_before_the_answer(root, store, monkeypatch):
    store.write("a/before", b"")
    calls = []
    fsync, replace = os.fsync, os.replace

    def traced_fsync(descriptor):
        calls.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(root).parts[0]))
        fsync(descriptor)

    def traced_replace(source, target, **options):
        calls.append(("rename", Path(target).relative_to(root).as_posix()))
        replace(source, target, **options)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    expected = [("fsync", ".tmp"), ("rename", "a/b"), ("fsync", "a")]
    store.write("a/b", b"1")
    assert calls == expected
    calls.clear()
    store.swap("a/b", b"1", b"2")
    assert calls == expected


def test_the_name_of_a_new_folder_is_on_disk_too_and_is_synced_once(root, store, monkeypatch):
    synced = []
    fsync = os.fsync

    def traced_fsync(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            synced.append(path)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    store.write("a/b/c", b"1")
    assert synced == [root.parent, root, root, root / "a", root / "a" / "b"]  # .tmp and a are both names in root
    synced.clear()
    store.write("a/b/d", b"1")
    assert synced == [root / "a" / "b"]


COUNT = """
import sys
from undrift.blobs import open_store
store = open_store(sys.argv[1])
done = 0
while done < 25:
    before = b"".join(store.read("counter"))
    done += store.swap("counter", before, b"%d" % (int(before) + 1))
"""


def test_processes_that_swap_a_counter_lose_no_update(root, store):
    store.write("counter", b"0")
    counting = [subprocess.Popen([sys.executable, "-c", COUNT, str(root)]) for _ in range(4)]
    assert [process.wait(60) for process in counting] == [0, 0, 0, 0]
    assert b"".join(store.read("counter")) == b"100"
    assert temporary_files(root) == []


def test_a_child_forked_under_the_lock_does_not_keep_it(store, root):
    script = """
import os, sys, time
from undrift.blobs import open_store
store = open_store(sys.argv[1])
with store._locked():
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
store.write("a", b"1")
os.kill(child, 9)
os.waitpid(child, 0)
"""
    store.write("a", b"0")
    subprocess.run([sys.executable, "-c", script, str(root)], check=True, timeout=20)
    assert b"".join(store.read("a")) == b"1"


def test_memory_does_not_follow_the_size_of_a_file(store, tmp_path):
    size = 64 << 20
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    objects = Repository(store).objects
    tracemalloc.start()
    try:
        digest = objects.put(tmp_path / "large")
        objects.fetch(digest, tmp_path / "copy")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert objects.size(digest) == (tmp_path / "copy").stat().st_size == size
    assert peak < 8 << 20


def test_a_file_that_changes_while_it_is_stored_is_not_stored(root, store, tmp_path, monkeypatch):
    large = tmp_path / "large"
    large.write_bytes(b"x" * (9 << 20))
    write = store.write

    def changed_and_written(key, source):
        with large.open("r+b") as file:
            file.write(b"y")
        write(key, source)

    monkeypatch.setattr(store, "write", changed_and_written)
    with pytest.raises(Conflict, match="changed while it was being stored"):
        Repository(store).objects.put(large)
    assert list(store.list()) == []
    assert temporary_files(root) == []
