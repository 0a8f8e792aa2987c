"""What nothing needs is removed, and nothing else, whoever writes meanwhile and whatever is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.blobs import Commit, Repository, open_store
from undrift.blobs.claims import CLAIMS, ROUND, Claims, Round
from undrift.blobs.collection import Digests, Needed, Root, collecting, mark, sweep
from undrift.core.clock import parse_time
from undrift.core.errors import Conflict, Unavailable
from undrift.core.hashing import hash_bytes


class Everything:
    """A judge that lets everything go that is not needed."""

    def __init__(self, wanted=()):
        self.wanted = set(wanted)
        self.back = []

    def ripe(self, found):
        return {digest for digest, _ in found}

    def forget(self, digests):
        pass

    def confirm(self, digests):
        return set(digests) - self.wanted

    def spared(self, digests):
        self.back.extend(digests)


@pytest.fixture(params=["folder", "memory", "bucket"])
def store(request, tmp_path):
    if request.param == "bucket":
        return open_store(request.getfixturevalue("s3_url"))
    return open_store(str(tmp_path / "blobs") if request.param == "folder" else "memory://")


def needed_of(repository, *roots):
    needed, lost = Needed(), []
    mark(repository, [Root(digest, "any", "a test") for digest in roots], needed, lambda *one: lost.append(one))
    return needed, lost


def collect(repository, *roots, judge=None):
    needed, _ = needed_of(repository, *roots)
    with collecting(repository.store) as rounds:
        return sweep(repository, needed, judge or Everything(), rounds)


@given(st.lists(st.binary(min_size=1, max_size=3)))
def test_a_set_of_digests_holds_what_was_added_and_nothing_else(words):
    digests, plain = Digests(), set()
    for word in words:
        digest = hash_bytes(word)
        assert digests.add(digest) is (digest not in plain)
        plain.add(digest)
    assert list(digests) == sorted(plain)
    assert len(digests) == len(plain)
    assert hash_bytes(b"another") not in digests


def test_thirty_thousand_digests_take_less_than_three_megabytes():
    tracemalloc.start()
    digests = Digests()
    for number in range(30_000):
        digests.add(hash_bytes(number.to_bytes(4, "big")))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(digests) == 30_000
    assert taken < 3_000_000


def test_only_what_can_be_reached_stays(store):
    repository = Repository(store)
    kept = repository.trees.edit(None, {"a/one": b"one", "two": b"two"})
    commit = repository.commits.write(
        Commit(tree=kept, author="ada", message="", time=parse_time("2013-01-01"), profile=repository.objects.put(b"p"))
    )
    gone = repository.objects.put(b"gone")
    swept = collect(repository, commit)
    assert swept.removed == 1
    assert swept.freed_bytes == 4
    assert repository.objects.size(gone) is None
    assert repository.trees.get(kept, "a/one") == b"one"
    assert Repository(store).commits.read(commit).profile == hash_bytes(b"p")
    assert collect(repository, commit).removed == 0


def test_a_look_removes_nothing(store):
    repository = Repository(store)
    repository.objects.put(b"one")
    swept = sweep(repository, Needed(), Everything(), None)
    assert (swept.removed, swept.freed_bytes, swept.objects) == (1, 3, 1)
    assert repository.objects.size(hash_bytes(b"one")) == 3


def test_a_pack_of_which_nothing_is_needed_goes(store):
    repository = Repository(store)
    repository.objects.put_many([b"x%d" % number for number in range(100)])
    swept = collect(repository)
    assert (swept.removed, swept.packs_removed, swept.packs_rewritten) == (100, 1, 0)
    assert list(store.list("packs")) == list(store.list("indexes")) == []


def test_a_pack_of_which_little_is_needed_is_made_anew(store):
    repository, reader = Repository(store), Repository(store)
    stored = repository.objects.put_many([b"x%03d" % number for number in range(100)])
    digests = [digest for digest, _ in stored]
    assert reader.objects.get(digests[7]) == b"x007"  # has the old index in memory from here on
    before = sum(size for _, size in store.list("packs"))
    swept = collect(repository, *digests[:10])
    assert (swept.removed, swept.packs_rewritten) == (90, 1)
    assert sum(size for _, size in store.list("packs")) == before - swept.freed_bytes
    assert [reader.objects.get(digest) for digest in digests[:10]] == [b"x%03d" % number for number in range(10)]
    assert Repository(store).objects.sizes(digests[9:12]) == [4, None, None]


def test_a_pack_of_which_most_is_needed_stays(store):
    repository = Repository(store)
    digests = [digest for digest, _ in repository.objects.put_many([b"x%d" % number for number in range(100)])]
    swept = collect(repository, *digests[:90])
    assert (swept.removed, swept.later) == (0, 10)


def test_what_is_needed_and_missing_is_listed_and_stops_nothing(store):
    repository = Repository(store)
    gone = repository.objects.put(b"gone")
    store.delete(f"objects/{gone[:2]}/{gone[2:]}")
    repository.objects.put(b"not needed")
    swept = collect(repository, gone)
    assert (swept.removed, swept.missing, swept.missing_count) == (1, [gone], 1)


def test_a_tree_that_is_missing_is_told_and_stops_nothing(store):
    repository = Repository(store)
    tree = repository.trees.edit(None, {"a/b": b"one"})
    below = repository.trees.find(tree, "a").digest
    store.delete(f"objects/{below[:2]}/{below[2:]}")
    _, lost = needed_of(repository, tree)
    assert [digest for digest, _, _ in lost] == [below]


@pytest.mark.parametrize("first", ["object", "tree"])
def test_a_file_with_the_bytes_of_a_tree_does_not_hide_what_the_tree_names(store, first):
    repository = Repository(store)
    tree = repository.trees.edit(None, {"a/one": b"one"})
    needed = Needed()
    for kind in (first, "tree" if first == "object" else "object"):
        mark(repository, [Root(tree, kind, "a test")], needed, lambda *_: None)
    with collecting(store) as rounds:
        assert sweep(repository, needed, Everything(), rounds).removed == 0
    assert repository.trees.get(tree, "a/one") == b"one"


def test_a_pack_stays_when_its_round_is_nearly_over(store, monkeypatch):
    repository = Repository(store)
    digests = [digest for digest, _ in repository.objects.put_many([b"x%d" % number for number in range(100)])]
    monkeypatch.setattr("undrift.blobs.collection._MARGIN_S", 1000.0)
    judge = Everything()
    # A writer may have waited for as long as it could, and found all of them there.
    assert collect(repository, *digests[:10], judge=judge).removed == 0
    assert sorted(judge.back) == sorted(digests[10:])
    assert None not in Repository(store).objects.measure(digests)


def test_what_the_judge_wants_in_the_last_moment_stays(store):
    repository = Repository(store)
    one = repository.objects.put(b"one")
    assert collect(repository, judge=Everything(wanted=[one])).removed == 0
    assert repository.objects.get(one) == b"one"


def test_what_cannot_be_removed_is_told_and_given_back(tmp_path):
    class Stubborn:
        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        def delete(self, key):
            if key.startswith("objects/"):
                raise Unavailable("The disk says no.")
            self._store.delete(key)

    repository = Repository(Stubborn(open_store(str(tmp_path / "blobs"))))
    one = repository.objects.put(b"one")
    judge = Everything()
    swept = collect(repository, judge=judge)
    assert (swept.removed, swept.errors, judge.back) == (0, ["The disk says no."], [one])


def test_who_relies_on_what_is_there_claims_it_and_keeps_it(store):
    Repository(store).objects.put(b"one")
    writer = Repository(store)
    assert writer.objects.put(b"one") == hash_bytes(b"one")
    assert len(list(store.list(CLAIMS))) == 1
    assert collect(writer).removed == 0
    assert writer.objects.get(hash_bytes(b"one")) == b"one"


def test_who_stores_a_stream_that_is_there_claims_it_and_keeps_it(store):
    Repository(store).objects.put(b"one")
    writer = Repository(store)
    assert writer.objects.put_stream(iter((b"o", b"ne"))) == (hash_bytes(b"one"), 3)
    assert len(list(store.list(CLAIMS))) == 1
    assert collect(writer).removed == 0
    assert writer.objects.get(hash_bytes(b"one")) == b"one"


@pytest.mark.parametrize("how", ["many", "one", "stream"])
def test_a_process_that_begins_finds_claims_and_keeps_what_others_have_packed(store, how):
    many = [f"{number}".encode() for number in range(40)]
    Repository(store).objects.put_many(many)
    keys = set(store.list("objects")) | set(store.list("packs"))
    objects = Repository(store).objects
    if how == "many":
        objects.put_many(many)
    elif how == "one":
        objects.put(b"7")
    else:
        objects.put_stream(iter((b"7",)))
    assert set(store.list("objects")) | set(store.list("packs")) == keys
    assert len(list(store.list(CLAIMS))) == 1
    collect(Repository(store))
    assert Repository(store).objects.get(hash_bytes(b"7")) == b"7"


def test_a_claimed_folder_keeps_all_below_it(store):
    tree = Repository(store).trees.edit(None, {"a/one": b"one", "two": b"two"})
    Repository(store).objects.size(tree)
    collect(Repository(store))
    assert Repository(store).trees.get(tree, "a/one") == b"one"


def test_a_claim_ends_after_two_days(store):
    repository = Repository(store)
    one = repository.objects.put(b"one")
    store.write(f"{CLAIMS}/{int(time.time()) - 3 * 86_400:010d}-00", bytes.fromhex(one))
    assert collect(repository).removed == 1
    assert list(store.list(CLAIMS)) == []


def test_what_one_has_just_written_or_claimed_needs_no_claim(store):
    repository = Repository(store)
    for _ in range(3):
        repository.objects.put(b"one")
    assert list(store.list(CLAIMS)) == []


def test_only_one_collects_at_a_time(store):
    with collecting(store), pytest.raises(Conflict, match="is freeing storage"), collecting(store):
        pass
    with collecting(store):
        pass


def test_a_claim_waits_for_the_round_that_may_not_have_seen_it(store):
    store.write(ROUND, msgspec.json.encode(Round("x", 1, time.time() + 60)))
    done = threading.Event()

    def claim():
        Claims(store).claim([hash_bytes(b"one")])
        done.set()

    thread = threading.Thread(target=claim)
    thread.start()
    assert not done.wait(0.2)
    store.delete(ROUND)
    thread.join(5)
    assert done.is_set()


def test_a_round_whose_process_was_killed_keeps_nobody_waiting(store):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = Round("x", 1, time.time() + 600, os.uname().nodename, int(ended.stdout))
    store.write(ROUND, msgspec.json.encode(dead))
    began = time.monotonic()
    assert Claims(store).claim([hash_bytes(b"one")])
    assert time.monotonic() - began < 5
    store.write("collection/lock", msgspec.json.encode(dead))
    with collecting(store):
        pass


def test_bytes_that_are_stored_again_while_they_are_collected_are_there_afterwards(store):
    """Writers store contents that are there and not needed, while others collect them as fast as they can."""
    newest, stop = [0], threading.Event()
    relied, errors = set(), []

    def contents(last):
        return [b"%d" % number * 20 for number in range(max(0, last - 20), last)]

    def writer(seed):
        """A new process each time: it remembers nothing of what it wrote."""
        repository = Repository(store)
        claims = repository.objects._claims
        plain, mine = claims.claim, set()

        def claim(digests):
            mine.update(digests)
            return plain(digests)

        claims.claim = claim
        dice = random.Random(seed)
        some = dice.sample(contents(newest[0] + 20), dice.choice([1, 3, 18]))
        if dice.random() < 0.5:
            repository.objects.put_many(some)
        else:
            for one in some:
                repository.objects.put(one)
        # What it wrote anew is the judge's to protect. Of what it relied on nothing may be missing, from now on.
        fresh = Repository(store).objects
        assert None not in fresh.measure(sorted(mine))
        relied.update(mine)

    def write(seed):
        try:
            while not stop.is_set():
                seed += 1
                writer(seed)
                newest[0] += 3
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=write, args=(seed * 100_000,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    removed, until = 0, time.monotonic() + 2
    while time.monotonic() < until and not errors:
        removed += collect(Repository(store)).removed
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert removed > 0
    assert relied
    assert None not in Repository(store).objects.measure(sorted(relied))


def test_a_collection_that_was_killed_is_done_again(tmp_path):
    folder = tmp_path / "blobs"
    repository = Repository(open_store(str(folder)))
    kept = repository.objects.put(b"kept")
    for number in range(3000):
        path = folder / f"objects/{number % 256:02x}/{number:062x}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10)
    script = textwrap.dedent(
        f"""
        from tests_killed import Everything
        from undrift.blobs import Repository, open_store
        from undrift.blobs.collection import Needed, collecting, sweep
        repository = Repository(open_store({str(folder)!r}))
        needed = Needed(); needed.add({kept!r})
        with collecting(repository.store) as rounds:
            sweep(repository, needed, Everything(), rounds, progress=lambda one: print(one.removed, flush=True))
        """
    )
    (tmp_path / "tests_killed.py").write_text(
        "class Everything:\n"
        "    def ripe(self, found): return {d for d, _ in found}\n"
        "    def forget(self, digests): pass\n"
        "    def confirm(self, digests): return set(digests)\n"
        "    def spared(self, digests): pass\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = len(list(repository.store.list("objects")))
    assert 1 < left < 3001
    swept = collect(repository, kept)
    assert swept.removed == left - 1
    assert repository.objects.get(kept) == b"kept"
