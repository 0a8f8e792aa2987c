"""What the host does to us: killed processes, full disks, disks that fail at any step, bits that flip, closed doors."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import pytest

from undrift.blobs import Repository, open_store
from undrift.core.errors import Corrupt, Unavailable
from undrift.core.hashing import hash_bytes

WRITE_WITHOUT_END = """
import random, sys
from datetime import UTC, datetime
from undrift.blobs import Commit, Repository, open_store
repository = Repository(open_store(sys.argv[1]))
chance = random.Random(int(sys.argv[2]))
try:
    before = repository.refs.read("main")
except Exception:
    before = None
while True:
    print("object", repository.objects.put(chance.randbytes(chance.choice([10, 10_000, 2_000_000]))), flush=True)
    tree = repository.trees.edit(None, {"a/b": chance.randbytes(10), "c": chance.randbytes(5000)})
    parents = () if before is None else (before,)
    after = repository.commits.write(
        Commit(tree=tree, parents=parents, author="ada", message="", time=datetime(2013, 1, 1, tzinfo=UTC))
    )
    repository.refs.move("main", before, after)
    before = after
    print("commit", after, flush=True)
"""


def visible_objects(store):
    return [key.removeprefix("objects/").replace("/", "") for key, _ in store.list("objects")]


def test_after_a_kill_everything_visible_is_whole_and_nothing_acknowledged_is_lost(tmp_path):
    root = tmp_path / "store"
    objects, commits = [], []
    for seed in range(5):
        chance = random.Random(seed)
        writing = [sys.executable, "-c", WRITE_WITHOUT_END, str(root), str(seed)]
        with subprocess.Popen(writing, stdout=subprocess.PIPE, text=True) as writer:
            lines = list(islice(writer.stdout, chance.randrange(1, 60)))
            time.sleep(chance.random() / 100)
            writer.kill()
            # A line that the kill cut in two is no acknowledgement.
            lines += [line for line in writer.stdout if line.endswith("\n")]
        objects += [line.split()[1] for line in lines if line.startswith("object ")]
        commits += [line.split()[1] for line in lines if line.startswith("commit ")]

        store = open_store(str(root))
        repository = Repository(store)
        for digest in visible_objects(store):
            repository.objects.get(digest)
        assert all(repository.objects.size(digest) is not None for digest in objects)
        log = list(repository.commits.log(repository.refs.read("main"))) if commits else []
        assert set(commits) <= {digest for digest, _ in log}
        for _, commit in log:
            assert [path for path, _ in repository.trees.walk(commit.tree)] == ["a/b", "c"]
    assert len(objects) > 40


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_refuses_with_a_sentence_and_heals_by_itself(small_disk):
    store = open_store(str(small_disk / "store"))
    repository = Repository(store)
    chance = random.Random(1)
    sources = [chance.randbytes(50_000) for _ in range(30)]
    written = []
    with pytest.raises(Unavailable, match=r"is full\. Free some space"):
        written.extend(map(repository.objects.put, sources))
    assert len(written) > 10
    assert sorted(visible_objects(store)) == sorted(written)
    assert [hash_bytes(repository.objects.get(digest)) for digest in written] == written
    assert list((small_disk / "store" / ".tmp").iterdir()) == []
    for _ in range(2):
        with pytest.raises(Unavailable, match="is full"):
            store.swap("refs/main", None, chance.randbytes(200_000))
    store.delete(f"objects/{written[0][:2]}/{written[0][2:]}")
    assert repository.objects.get(repository.objects.put(b"small again")) == b"small again"


def test_a_fetch_onto_a_full_disk_leaves_the_file_as_it_was(small_disk):
    objects = Repository(open_store("memory://")).objects
    (small_disk / "model").write_bytes(b"before")
    with pytest.raises(Unavailable, match="is full"):
        objects.fetch(objects.put(b"x" * (3 << 20)), small_disk / "model")
    assert [path.read_bytes() for path in small_disk.iterdir()] == [b"before"]


class FailingAt:
    """Lets the system's calls through until the nth, and fails that one."""

    def __init__(self, patch, nth, number):
        self.left = nth
        for name in ("open", "write", "fsync", "replace", "mkdir"):
            patch.setattr(os, name, self.counted(getattr(os, name), number))

    def counted(self, call, number):
        def counted_call(*args, **options):
            self.left -= 1
            if self.left == 0:
                raise OSError(number, os.strerror(number))
            return call(*args, **options)

        return counted_call


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.ENOSPC, "is full"), (errno.EROFS, "may not use"), (errno.EIO, "failed at")],
)
@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.write("a/b/c", iter([b"new ", b"and ", b"longer"])),
        lambda store: store.swap("a/b/c", b"old", b"new and longer"),
    ],
    ids=["write", "swap"],
)
def test_a_disk_that_fails_at_any_step_leaves_the_old_or_the_new(tmp_path, monkeypatch, number, sentence, change):
    failures = 0
    for nth in range(1, 100):
        root = tmp_path / str(nth)
        open_store(str(root)).write("a/b/c", b"old")
        open_store(str(root)).write("a/d", b"beside")
        store = open_store(str(root))
        with monkeypatch.context() as patch:
            failing = FailingAt(patch, nth, number)
            try:
                change(store)
                error = None
            except Unavailable as raised:
                error = raised
        if error is not None:
            failures += 1
            assert sentence in error.message
            assert str(root) in error.message
            assert error.next_step
        content = {key: b"".join(store.read(key)) for key, _ in store.list()}
        assert content in ({"a/b/c": b"old", "a/d": b"beside"}, {"a/b/c": b"new and longer", "a/d": b"beside"})
        assert list((root / ".tmp").iterdir()) == []
        if failing.left > 0:
            assert content["a/b/c"] == b"new and longer"
            break
    assert failures >= 10


def test_a_truncated_file_is_refused_and_named(tmp_path):
    objects = Repository(open_store(str(tmp_path / "store"))).objects
    digest = objects.put(b"x" * 5000)
    other = objects.put(b"other")
    os.truncate(tmp_path / "store" / "objects" / digest[:2] / digest[2:], 4096)
    with pytest.raises(Corrupt, match=rf"{digest} in LocalStore.* was altered: the 4096 bytes"):
        objects.get(digest)
    assert objects.get(other) == b"other"


@pytest.mark.parametrize("bit", [0, 7, 8 * 2_500_000 + 3, 8 * 3_000_000 - 1])
def test_one_flipped_bit_is_refused_and_named(tmp_path, bit):
    objects = Repository(open_store(str(tmp_path / "store"))).objects
    digest = objects.put(bytes(3_000_000))
    with (tmp_path / "store" / "objects" / digest[:2] / digest[2:]).open("r+b") as file:
        file.seek(bit // 8)
        file.write(bytes([1 << bit % 8]))
    with pytest.raises(Corrupt, match=digest):
        objects.get(digest)
    with pytest.raises(Corrupt, match=digest):
        objects.fetch(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_swapped_files_are_refused(tmp_path):
    objects = Repository(open_store(str(tmp_path / "store"))).objects
    one, two = (tmp_path / "store" / "objects" / digest[:2] / digest[2:] for digest in map(objects.put, (b"1", b"2")))
    one.rename(tmp_path / "aside")
    two.rename(one)
    with pytest.raises(Corrupt):
        objects.get(hash_bytes(b"1"))


@pytest.mark.parametrize("place", ["file", "file/store"])
def test_a_file_in_the_place_of_the_store_is_named(tmp_path, place):
    (tmp_path / "file").write_bytes(b"")
    store = open_store(str(tmp_path / place))
    assert list(store.list()) == []
    for change in (lambda: store.write("a", b"1"), lambda: store.swap("a", None, b"1")):
        with pytest.raises(Unavailable, match="in the way") as refused:
            change()
        assert str(tmp_path / "file") in refused.value.message


WRITE_AS_NOBODY = """
import os, sys
from undrift.blobs import open_store
from undrift.core.errors import Unavailable
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
store = open_store(sys.argv[1])
for call in (lambda: store.write("a", b"2"), lambda: store.swap("a", b"1", b"2"), lambda: store.delete("a")):
    try:
        call()
    except Unavailable as error:
        print(error)
print(b"".join(store.read("a")))
"""


def test_a_folder_that_may_not_be_written_is_named_and_can_still_be_read():
    # Not in tmp_path: its parents belong to the user who runs the tests, and let nobody else through.
    with tempfile.TemporaryDirectory() as parent:
        root = Path(parent) / "store"
        open_store(str(root)).write("a", b"1")
        for path in (Path(parent), root, root / ".tmp"):
            path.chmod(0o555)
        for path in (root / "a", root / ".lock"):
            path.chmod(0o444)
        output = subprocess.run([sys.executable, "-c", WRITE_AS_NOBODY, root], capture_output=True, text=True)
        for path in (Path(parent), root, root / ".tmp"):
            path.chmod(0o700)
    *sentences, content = output.stdout.splitlines()
    assert content == "b'1'", output.stderr
    assert len(sentences) == 3
    assert all(f"undrift may not use {root}" in line and "Give the user it runs as" in line for line in sentences)
