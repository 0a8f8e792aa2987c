"""What a byte store owes (`ByteStoreContract`), and what undrift's repository owes on top of it (`RepositoryContract`).

    class TestMyStore(ByteStoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)

The fixture gives an empty store for each test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from undrift.blobs import ByteStore, Commit, Entry, Part, Repository, Source
from undrift.core.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from undrift.core.hashing import hash_bytes

__all__ = ["ByteStoreContract", "RepositoryContract"]

UNSAFE_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "a/./b",
    ".a",
    "a/.b",
    "a\\b",
    "..\\a",
    "C:",
    "C:/a",
    "C:\\a",
    "a\x00b",
    "a\nb",
    "a\x7f",
    "a?b",
    "a#b",
    "a;b",
    "a%2e%2e/b",
    "a b",
    "a:b",
    "~",
    "-a",
    "\u0430",
    "a\u2044b",
    "\udcff",
    "a" * 201,
    "/".join("abcdefgh" * 100),
]
UNSAFE_PATHS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/.",
    "a\\b",
    "..\\a",
    "C:",
    "C:/a",
    "a/c:b",
    "a\x00b",
    "a\nb",
    "a\x7f",
    "a\x85",
    "\udcff",
    "a" * 256,
    "a/" * 100 + "a",
    "/".join("b" * 200 for _ in range(30)),
]
NO_DIGESTS = ["", "abc", "G" * 64, "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n", "../../etc/passwd"]
MISSING = "0" * 64


def joined(store: ByteStore, key: str) -> bytes:
    """Read all bytes under a key."""
    return b"".join(store.read(key))


def refused(value: str, call: Callable[[str], Any]) -> None:
    """Demand that a call says Invalid to a value."""
    try:
        call(value)
    except Invalid:
        return
    pytest.fail(f"{value!a} was not refused")


class ByteStoreContract:
    """The promises of `undrift.blobs.ByteStore`."""

    @pytest.fixture
    def store(self) -> ByteStore:
        """Return an empty store; a subclass says which."""
        raise NotImplementedError

    @pytest.mark.parametrize("data", [b"", b"\x00", bytes(range(256)), b"x" * 100_000], ids=len)
    def test_bytes_come_back_as_they_were_written(self, store: ByteStore, data: bytes) -> None:
        """Read gives what write took."""
        store.write("a/b", data)
        assert joined(store, "a/b") == data
        assert store.size("a/b") == len(data)

    def test_many_bytes_come_in_pieces(self, store: ByteStore) -> None:
        """Memory does not follow the size."""
        data = bytes(range(256)) * (3 << 12) + b"the end"
        store.write("large", data)
        pieces = list(store.read("large"))
        assert b"".join(pieces) == data
        assert all(type(piece) is bytes for piece in pieces)

    @pytest.mark.parametrize(
        "pieces", [[], [b""], [b"one"], [b"one", b"", b" two"], [b"x" * (1 << 20)] * 3], ids=range(5)
    )
    def test_a_source_may_come_in_pieces(self, store: ByteStore, pieces: list[bytes]) -> None:
        """Write takes an iterable of bytes as well."""
        store.write("pieces", iter(pieces))
        assert joined(store, "pieces") == b"".join(pieces)
        assert store.size("pieces") == sum(map(len, pieces))

    @pytest.mark.parametrize("size", [0, 10, (2 << 20) + 7])
    def test_a_stretch_is_read_alone(self, store: ByteStore, size: int) -> None:
        """From a byte on, so many of them; what lies beyond the end is left out."""
        data = bytes(n % 251 for n in range(1000)) * (size // 1000 + 1)
        data = data[:size]
        store.write("a", data)
        for start in (0, 1, 5, size - 1, size, size + 1, size // 2):
            for length in (None, 0, 1, 4, size, size + 10):
                if start >= 0:
                    expected = data[start:] if length is None else data[start : start + length]
                    assert b"".join(store.read("a", start, length)) == expected, (start, length)
        with pytest.raises(NotFound):
            store.read("b", 1, 2)

    def test_a_key_may_be_known_only_after_the_last_piece(self, store: ByteStore) -> None:
        """So that bytes are hashed while they are written; an unsafe key is refused as ever."""
        came: list[bytes] = []

        def pieces() -> Iterator[bytes]:
            for piece in (b"one", b"", b" two"):
                came.append(piece)
                yield piece

        store.write(lambda: f"late/{len(came)}", pieces())
        assert list(store.list()) == [("late/3", 7)]
        assert joined(store, "late/3") == b"one two"
        store.write(lambda: "late/3", b"other")
        assert joined(store, "late/3") == b"other"
        refused("../x", lambda key: store.write(lambda: key, iter([b"x"])))
        assert list(store.list()) == [("late/3", 5)]

    def test_a_write_takes_the_place_of_what_was_there(self, store: ByteStore) -> None:
        """Write replaces, also by something shorter."""
        store.write("a", b"a long beginning")
        store.write("a", b"short")
        assert joined(store, "a") == b"short"
        assert list(store.list()) == [("a", 5)]

    @pytest.mark.parametrize("before", [None, b"before"])
    def test_a_source_that_fails_leaves_the_key_as_it_was(self, store: ByteStore, before: bytes | None) -> None:
        """The exception comes through, and nothing of the source shows."""

        def failing() -> Iterator[bytes]:
            yield b"x" * (1 << 20)
            raise ZeroDivisionError("the source fails")

        if before is not None:
            store.write("a/b", before)
        with pytest.raises(ZeroDivisionError, match="the source fails"):
            store.write("a/b", failing())
        assert store.size("a/b") == (None if before is None else len(before))
        assert [key for key, _ in store.list()] == ([] if before is None else ["a/b"])

    def test_reading_what_is_missing_says_so_at_once(self, store: ByteStore) -> None:
        """NotFound comes from the call, not from the first piece."""
        with pytest.raises(NotFound, match="a/b"):
            store.read("a/b")

    def test_a_folder_is_not_a_key(self, store: ByteStore) -> None:
        """Only what was written can be read."""
        store.write("a/b/c", b"1")
        for key in ("a", "a/b", "a/b/c/d"):
            assert store.size(key) is None
            with pytest.raises(NotFound):
                store.read(key)
            store.delete(key)
        assert joined(store, "a/b/c") == b"1"

    def test_a_list_covers_whole_folders(self, store: ByteStore) -> None:
        """A prefix ends at a slash, and does not give itself."""
        for key in ("a/b/c", "a/b/d/e", "a/bc", "b"):
            store.write(key, key.encode())
        assert dict(store.list()) == {"a/b/c": 5, "a/b/d/e": 7, "a/bc": 4, "b": 1}
        assert dict(store.list("a")) == {"a/b/c": 5, "a/b/d/e": 7, "a/bc": 4}
        assert dict(store.list("a/b")) == {"a/b/c": 5, "a/b/d/e": 7}
        assert dict(store.list("b")) == {}
        assert dict(store.list("nothing/here")) == {}

    def test_a_list_of_an_empty_store_is_empty(self, store: ByteStore) -> None:
        """Nothing is no error."""
        assert list(store.list()) == []

    def test_a_list_is_complete_when_it_is_long(self, store: ByteStore) -> None:
        """Pages of a service do not show."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: store.write(f"many/{n % 7}/{n}", b"1"), range(1100)))
        assert sorted(key for key, _ in store.list("many")) == sorted(f"many/{n % 7}/{n}" for n in range(1100))

    def test_a_delete_removes_and_may_be_repeated(self, store: ByteStore) -> None:
        """Nothing there is no error; what is beside it stays."""
        store.write("a/b", b"1")
        store.write("a/c", b"2")
        for _ in range(2):
            store.delete("a/b")
        assert store.size("a/b") is None
        assert list(store.list()) == [("a/c", 1)]
        store.delete("never/there")

    def test_a_swap_creates_only_what_is_not_there(self, store: ByteStore) -> None:
        """With None expected, the first one wins."""
        assert store.swap("a/b", None, b"first") is True
        assert store.swap("a/b", None, b"second") is False
        assert joined(store, "a/b") == b"first"

    def test_a_swap_replaces_exactly_what_is_expected(self, store: ByteStore) -> None:
        """Anything else there is left as it is."""
        store.write("a", b"one")
        assert store.swap("a", b"on", b"two") is False
        assert store.swap("a", b"", b"two") is False
        assert joined(store, "a") == b"one"
        assert store.swap("a", b"one", b"two") is True
        assert store.swap("a", b"one", b"three") is False
        assert joined(store, "a") == b"two"

    def test_a_swap_tells_empty_from_missing(self, store: ByteStore) -> None:
        """No bytes under a key is something; nothing there is not."""
        assert store.swap("a", b"", b"one") is False
        assert store.size("a") is None
        assert store.swap("a", None, b"") is True
        assert store.swap("a", None, b"one") is False
        assert store.swap("a", b"", b"one") is True

    def test_a_swap_after_a_delete_finds_nothing(self, store: ByteStore) -> None:
        """What was deleted can be created again, but not replaced."""
        store.write("a", b"one")
        store.delete("a")
        assert store.swap("a", b"one", b"two") is False
        assert store.swap("a", None, b"two") is True

    def test_an_unsafe_key_is_refused_by_every_method(self, store: ByteStore) -> None:
        """Invalid, before anything is asked or changed."""
        for key in UNSAFE_KEYS:
            refused(key, store.read)
            refused(key, lambda key: store.write(key, b""))
            refused(key, store.size)
            refused(key, store.delete)
            refused(key, lambda key: store.swap(key, None, b""))
            if key:
                refused(key, store.list)
        assert list(store.list()) == []

    @pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a/b", "a/b/c/d")])
    def test_a_key_below_another_is_kept_or_refused_whole(self, store: ByteStore, first: str, second: str) -> None:
        """Either the store holds both, or it says Conflict and holds the first."""
        store.write(first, b"1")
        try:
            store.write(second, b"22")
            store.swap(second, b"22", b"22")
            assert dict(store.list()) == {first: 1, second: 2}
        except Conflict:
            with pytest.raises(Conflict):
                store.swap(second, None, b"22")
            assert dict(store.list()) == {first: 1}
        assert joined(store, first) == b"1"

    def test_threads_that_swap_a_counter_lose_no_update(self, store: ByteStore) -> None:
        """A swap that says yes has counted."""

        def count(_: int) -> None:
            done = 0
            while done < 5:
                before = joined(store, "counter")
                done += store.swap("counter", before, b"%d" % (int(before) + 1))

        store.write("counter", b"0")
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(count, range(6)))
        assert joined(store, "counter") == b"30"

    def test_of_threads_that_create_a_key_one_wins(self, store: ByteStore) -> None:
        """And the others learn that they did not."""
        for n in range(5):
            with ThreadPoolExecutor(6) as pool:
                won = list(pool.map(lambda me, n=n: store.swap(f"one/{n}", None, b"%d" % me), range(6)))
            assert won.count(True) == 1
            assert joined(store, f"one/{n}") == b"%d" % won.index(True)

    def test_a_reader_sees_whole_values_while_others_write(self, store: ByteStore) -> None:
        """The bytes from before or from after, never some of each."""
        values = [bytes([65 + n]) * (50_000 + n) for n in range(4)]
        store.write("hot", values[0])

        def write(value: bytes) -> None:
            for _ in range(10):
                store.write("hot", value)

        def read(_: int) -> list[bytes]:
            return [joined(store, "hot") for _ in range(20)]

        with ThreadPoolExecutor(8) as pool:
            writes = pool.map(write, values)
            seen = [value for reads in pool.map(read, range(4)) for value in reads]
            list(writes)
        assert set(seen) <= set(values)


class RepositoryContract:
    """The promises of `undrift.blobs.Repository`, over a byte store that keeps its own."""

    @pytest.fixture
    def store(self) -> ByteStore:
        """Return an empty store; a subclass says which."""
        raise NotImplementedError

    @pytest.fixture
    def repository(self, store: ByteStore) -> Repository:
        """Return the repository over the store."""
        return Repository(store)

    # -- objects ------------------------------------------------------------------------------------------------------

    def test_an_object_is_found_by_the_hash_of_its_bytes(self, repository: Repository) -> None:
        """The address is the content's."""
        digest = repository.objects.put(b"clear skies")
        assert digest == hash_bytes(b"clear skies")
        assert repository.objects.get(digest) == b"clear skies"
        assert repository.objects.size(digest) == 11

    def test_equal_bytes_are_kept_once(self, repository: Repository, store: ByteStore, tmp_path: Path) -> None:
        """From memory or from a file."""
        (tmp_path / "file").write_bytes(b"same")
        assert repository.objects.put(b"same") == repository.objects.put(tmp_path / "file")
        assert len(list(store.list())) == 1

    @pytest.mark.parametrize("size", [0, 1, (8 << 20) + 1])
    def test_a_file_is_stored_and_fetched_as_it_is(self, repository: Repository, tmp_path: Path, size: int) -> None:
        """Small files and large ones, which are never held whole."""
        source = tmp_path / "source"
        source.write_bytes((b"0123456789abcdef" * (size // 16 + 1))[:size])
        digest = repository.objects.put(source)
        repository.objects.fetch(digest, tmp_path / "new" / "copy")
        assert (tmp_path / "new" / "copy").read_bytes() == source.read_bytes()
        assert repository.objects.size(digest) == size

    def test_many_sources_give_their_digests_in_order(self, repository: Repository, tmp_path: Path) -> None:
        """However many are stored at once."""
        (tmp_path / "file").write_bytes(b"a file")
        sources: list[bytes | Path] = [b"%d" % n for n in range(20)] + [tmp_path / "file"]
        expected = [(hash_bytes(b"%d" % n), len(b"%d" % n)) for n in range(20)] + [(hash_bytes(b"a file"), 6)]
        assert repository.objects.put_many(sources) == expected
        assert repository.objects.put_many([]) == []

    def test_a_missing_object_is_not_found(self, repository: Repository, tmp_path: Path) -> None:
        """And a damage where something refers to it."""
        assert repository.objects.size(MISSING) is None
        with pytest.raises(NotFound, match=MISSING):
            repository.objects.get(MISSING)
        with pytest.raises(NotFound, match=MISSING):
            repository.objects.fetch(MISSING, tmp_path / "copy")
        with pytest.raises(Corrupt, match=r"missing.*although the model refers to it"):
            repository.objects.get(MISSING, needed_by="the model")
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_file_is_not_found(self, repository: Repository, store: ByteStore, tmp_path: Path) -> None:
        """Nothing is stored for it."""
        for put in (repository.objects.put, lambda path: repository.objects.put_many([path])):
            with pytest.raises(NotFound, match="no file"):
                put(tmp_path / "nothing")
        assert list(store.list()) == []

    def test_what_is_no_digest_is_refused(self, repository: Repository, tmp_path: Path) -> None:
        """By everything that takes one."""
        one = repository.objects.put(b"1")
        for digest in NO_DIGESTS:
            refused(digest, repository.objects.get)
            refused(digest, repository.objects.size)
            refused(digest, lambda digest: repository.objects.fetch(digest, tmp_path / "copy"))
            refused(digest, repository.trees.read)
            refused(digest, lambda digest: repository.trees.edit(digest, {"a": b""}))
            refused(digest, lambda digest: repository.trees.edit(None, {"a": digest}))
            refused(digest, lambda digest: repository.trees.edit(None, {"a": Entry("a", "tree", digest, 1)}))
            refused(digest, lambda digest: repository.trees.find(digest, "a"))
            refused(digest, lambda digest: list(repository.trees.walk(digest)))
            refused(digest, repository.commits.read)
            refused(digest, lambda digest: list(repository.commits.log(digest)))
            refused(digest, lambda digest: repository.refs.move("a", None, digest))
            refused(digest, lambda digest: repository.refs.move("a", digest, one))

    @pytest.mark.parametrize(
        "change",
        [lambda d: d[:-1], lambda d: bytes([d[0] ^ 1]) + d[1:], lambda d: d + b"\n"],
        ids=["short", "flipped", "long"],
    )
    def test_altered_bytes_are_refused_and_named(
        self, repository: Repository, store: ByteStore, tmp_path: Path, change: Callable[[bytes], bytes]
    ) -> None:
        """Truncated, flipped by one bit, or longer; a file that was to be replaced stays."""
        data = b"the bytes of a model"
        digest = repository.objects.put(data)
        [(key, _)] = store.list()
        store.write(key, change(data))
        (tmp_path / "copy").write_bytes(b"before")
        with pytest.raises(Corrupt, match=digest) as refused:
            repository.objects.get(digest)
        assert key in refused.value.next_step
        with pytest.raises(Corrupt, match=digest):
            repository.objects.fetch(digest, tmp_path / "copy")
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]

    def test_a_truncated_object_is_healed_by_storing_it_again(self, repository: Repository, store: ByteStore) -> None:
        """A put skips only what has the right length."""
        digest = repository.objects.put(b"whole")
        [(key, _)] = store.list()
        store.write(key, b"who")
        repository.objects.put(b"whole")
        assert repository.objects.get(digest) == b"whole"

    def test_many_small_objects_cost_few_writes(self, repository: Repository, store: ByteStore) -> None:
        """They lie together, and are read, fetched, named in trees and found by others as ever."""
        sources = [b"%d" % n * (n % 50) for n in range(1, 600)]
        stored = repository.objects.put_many(iter(sources))
        assert stored == [(hash_bytes(one), len(one)) for one in sources]
        assert len(list(store.list())) == 2
        for other in (repository, Repository(store)):
            assert other.objects.sizes([digest for digest, _ in stored]) == [size for _, size in stored]
            assert [other.objects.get(digest) for digest, _ in stored] == sources
            assert b"".join(other.objects.read(stored[-1][0], 2, 5)) == sources[-1][2:7]
        root = Repository(store).trees.edit(None, {"a/b": stored[7][0]})
        assert repository.trees.get(root, "a/b") == sources[7]

    def test_what_is_packed_is_not_stored_again(self, repository: Repository, store: ByteStore) -> None:
        """Nor twice in one call."""
        sources = [b"%d" % n for n in range(100)]
        repository.objects.put_many(sources * 2)
        before = sorted(store.list())
        repository.objects.put_many(sources)
        repository.objects.put(sources[3])
        repository.objects.put_stream(iter([sources[4]]), digest=hash_bytes(sources[4]))
        assert sorted(store.list()) == before

    def test_small_and_large_sources_come_in_order(
        self, repository: Repository, store: ByteStore, tmp_path: Path
    ) -> None:
        """Large ones are kept by themselves."""
        (tmp_path / "large").write_bytes(b"large" * 300_000)
        (tmp_path / "small").write_bytes(b"small")
        sources: list[bytes | Path] = [b"%d" % n for n in range(30)]
        sources[3:3] = [tmp_path / "large", tmp_path / "small", b"x" * (1 << 21)]
        expected = [one.read_bytes() if isinstance(one, Path) else one for one in sources]
        stored = repository.objects.put_many(sources)
        assert stored == [(hash_bytes(one), len(one)) for one in expected]
        assert len([key for key, _ in store.list("objects")]) == 2

    def test_a_stream_is_stored_under_the_hash_of_its_bytes(self, repository: Repository, store: ByteStore) -> None:
        """Known at the end; or known before, and then insisted on."""
        pieces = [b"one", b" two", b"x" * 3_000_000]
        digest = hash_bytes(b"".join(pieces))
        assert repository.objects.put_stream(iter(pieces)) == (digest, 3_000_007)
        assert b"".join(repository.objects.read(digest)) == b"".join(pieces)
        assert repository.objects.put_stream(iter(pieces), digest=digest) == (digest, 3_000_007)
        for known in (MISSING, digest):
            with pytest.raises(Invalid, match="are not object"):
                repository.objects.put_stream(iter([b"other"]), digest=known)
        assert len(list(store.list())) == 1

    def test_an_altered_object_in_a_pack_is_refused_and_named(self, repository: Repository, store: ByteStore) -> None:
        """Storing the same content again heals it, and the others stay as they are."""
        sources = [b"object %d" % n for n in range(50)]
        digests = [digest for digest, _ in repository.objects.put_many(sources)]
        [(key, _)] = store.list("packs")
        body = joined(store, key)
        at = body.index(sources[7])
        store.write(key, body[:at] + b"O" + body[at + 1 :])
        for other in (repository, Repository(store)):
            with pytest.raises(Corrupt, match=digests[7]) as caught:
                other.objects.get(digests[7])
            assert key in caught.value.next_step
            assert other.objects.get(digests[8]) == sources[8]
            other.objects.put(sources[7])
            assert other.objects.get(digests[7]) == sources[7]
            store.delete(f"objects/{digests[7][:2]}/{digests[7][2:]}")

    def test_a_damaged_index_is_made_anew_from_its_pack(self, repository: Repository, store: ByteStore) -> None:
        """Cut, flipped or empty."""
        sources = [b"object %d" % n for n in range(50)]
        digests = [digest for digest, _ in repository.objects.put_many(sources)]
        [(key, _)] = store.list("indexes")
        whole = joined(store, key)
        for damaged in (b"", whole[:-1], whole[:40], whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
            store.write(key, damaged)
            assert [Repository(store).objects.get(digest) for digest in digests] == sources
            assert joined(store, key) == whole

    def test_a_pack_without_an_index_was_never_stored(self, repository: Repository, store: ByteStore) -> None:
        """A crash between the two writes acknowledged nothing; storing again does."""
        sources = [b"object %d" % n for n in range(50)]
        [(digest, _), *_] = repository.objects.put_many(sources)
        [(key, _)] = store.list("indexes")
        store.delete(key)
        other = Repository(store)
        assert other.objects.size(digest) is None
        with pytest.raises(NotFound):
            other.objects.get(digest)
        other.objects.put_many(sources)
        assert other.objects.get(digest) == sources[0]

    def test_a_pack_may_be_made_anew_while_others_read(self, repository: Repository, store: ByteStore) -> None:
        """Whoever knew the old one finds its objects in the new one."""
        sources = [b"object %d" % n for n in range(50)]
        digests = [digest for digest, _ in repository.objects.put_many(sources)]
        for key, _ in [*store.list("indexes"), *store.list("packs")]:
            store.delete(key)
        Repository(store).objects.put_many(sources[10:])
        assert repository.objects.get(digests[20]) == sources[20]
        assert repository.objects.size(digests[0]) is None
        with pytest.raises(NotFound):
            repository.objects.get(digests[0])

    # -- uploads ------------------------------------------------------------------------------------------------------

    def test_parts_become_an_object_when_all_are_there(self, repository: Repository, store: ByteStore) -> None:
        """In whatever order they came; nothing of the upload stays."""
        data = [b"one" * 100_000, b"two", b"three"]
        whole = hash_bytes(b"".join(data))
        repository.uploads.begin(whole, "for a test", _moment(1))
        for number in (3, 1, 2, 1):
            part = repository.uploads.put_part(whole, number, iter([data[number - 1]]))
            assert part == Part(number, hash_bytes(data[number - 1]), len(data[number - 1]))
            assert repository.objects.size(whole) is None
        repository.uploads.begin(whole, "again", _moment(2))
        assert repository.uploads.purpose(whole) == "for a test"
        parts = Repository(store).uploads.parts(whole)
        assert [part.number for part in parts] == [1, 2, 3]
        stored = repository.uploads.complete(whole, [part.digest for part in parts], whole)
        assert stored == (whole, 300_008)
        assert b"".join(repository.objects.read(whole)) == b"".join(data)
        assert list(store.list("uploads")) == []

    def test_an_upload_that_lacks_something_is_not_completed(self, repository: Repository, store: ByteStore) -> None:
        """A part, the right order, the right whole; it can go on."""
        name = "0" * 32
        with pytest.raises(NotFound, match="no upload"):
            repository.uploads.put_part(name, 1, iter([b"1"]))
        repository.uploads.begin(name, "", _moment(1))
        one = repository.uploads.put_part(name, 1, iter([b"1"])).digest
        two = hash_bytes(b"2")
        for digests, whole in (([one, two], None), ([two], None), ([one, one], None), ([one], MISSING)):
            with pytest.raises(Invalid):
                repository.uploads.complete(name, digests, whole)
        for number in (0, -1, 10_001):
            with pytest.raises(Invalid):
                repository.uploads.put_part(name, number, iter([b"1"]))
        assert list(store.list("objects")) == []
        repository.uploads.put_part(name, 2, iter([b"2"]))
        assert repository.uploads.complete(name, [one, two]) == (hash_bytes(b"12"), 2)

    def test_a_part_that_is_cut_leaves_nothing(self, repository: Repository) -> None:
        """The exception comes through."""

        def cut() -> Iterator[bytes]:
            yield b"x" * 100
            raise ZeroDivisionError

        repository.uploads.begin("0" * 32, "", _moment(1))
        with pytest.raises(ZeroDivisionError):
            repository.uploads.put_part("0" * 32, 1, cut())
        assert repository.uploads.parts("0" * 32) == []

    def test_a_damaged_part_is_refused_and_can_be_sent_again(self, repository: Repository, store: ByteStore) -> None:
        """And no object is made of it."""
        repository.uploads.begin("0" * 32, "", _moment(1))
        part = repository.uploads.put_part("0" * 32, 1, iter([b"right"]))
        store.write(f"uploads/{'0' * 32}/00001-{part.digest}", b"wrong")
        with pytest.raises(Unavailable, match="Part 1"):
            repository.uploads.complete("0" * 32, [part.digest])
        assert list(store.list("objects")) == []
        assert repository.uploads.parts("0" * 32) == []
        repository.uploads.put_part("0" * 32, 1, iter([b"right"]))
        assert repository.uploads.complete("0" * 32, [part.digest]) == (hash_bytes(b"right"), 5)

    def test_what_was_left_is_swept_and_what_is_given_up_is_removed(
        self, repository: Repository, store: ByteStore
    ) -> None:
        """The young stay."""
        for number, hour in enumerate((1, 2, 3)):
            name = f"{number:032x}"
            repository.uploads.begin(name, "", _moment(hour))
            repository.uploads.put_part(name, 1, iter([b"1"]))
        assert repository.uploads.sweep(_moment(3)) == 2
        assert {key.split("/")[1] for key, _ in store.list("uploads")} == {f"{2:032x}"}
        for _ in range(2):
            repository.uploads.abort(f"{2:032x}")
        assert list(store.list("uploads")) == []

    def test_a_name_of_an_upload_leads_nowhere_else(self, repository: Repository, store: ByteStore) -> None:
        """It is an id or a digest, in every call."""
        one = repository.objects.put(b"1")
        for name in ("", "..", "../objects", "0" * 31, "0" * 33, "A" * 32, "0" * 32 + "/..", "0" * 32 + "\n"):
            refused(name, lambda name: repository.uploads.begin(name, "", _moment(1)))
            refused(name, repository.uploads.purpose)
            refused(name, lambda name: repository.uploads.put_part(name, 1, iter([b""])))
            refused(name, repository.uploads.parts)
            refused(name, lambda name: repository.uploads.complete(name, [one]))
            refused(name, repository.uploads.abort)
        assert len(list(store.list())) == 1

    # -- trees --------------------------------------------------------------------------------------------------------

    def test_a_tree_holds_what_was_put_in_it(self, repository: Repository, tmp_path: Path) -> None:
        """Bytes, files, objects that are there already, and whole folders of other trees."""
        (tmp_path / "file").write_bytes(b"a file")
        stored = repository.objects.put(b"an object")
        parts = repository.trees.edit(None, {"a/1": b"one", "a/b/2": b"two"})
        root = repository.trees.edit(
            None,
            {
                "Größe #1?.txt": b"bytes",
                "x/file": tmp_path / "file",
                "x/object": stored,
                "x/folder": repository.trees.find(parts, "a"),
            },
        )
        content = {path: repository.trees.get(root, path) for path, _ in repository.trees.walk(root)}
        assert content == {
            "Größe #1?.txt": b"bytes",
            "x/file": b"a file",
            "x/folder/1": b"one",
            "x/folder/b/2": b"two",
            "x/object": b"an object",
        }
        assert all(entry.size_bytes == len(content[path]) for path, entry in repository.trees.walk(root))
        assert repository.trees.find(root, "x").size_bytes == 21
        assert repository.trees.read(root).size_bytes == 26

    def test_a_walk_goes_by_the_names_in_each_folder(self, repository: Repository) -> None:
        """Each file once, with its path."""
        root = repository.trees.edit(None, dict.fromkeys(("b", "a/z", "a/b/c", "a.txt", "a/a"), b""))
        assert [path for path, _ in repository.trees.walk(root)] == ["a/a", "a/b/c", "a/z", "a.txt", "b"]

    def test_a_change_leaves_the_tree_it_started_from(self, repository: Repository) -> None:
        """Every version stays readable."""
        first = repository.trees.edit(None, {"a/1": b"one", "a/2": b"two", "b/3": b"three"})
        second = repository.trees.edit(first, {"a/1": b"uno", "a/2": None, "c/4": b"four"})
        assert [path for path, _ in repository.trees.walk(first)] == ["a/1", "a/2", "b/3"]
        assert [path for path, _ in repository.trees.walk(second)] == ["a/1", "b/3", "c/4"]
        assert repository.trees.get(first, "a/1") == b"one"
        assert repository.trees.get(second, "a/1") == b"uno"
        assert repository.trees.find(first, "b") == repository.trees.find(second, "b")

    def test_removing_goes_by_file_or_folder(self, repository: Repository) -> None:
        """An empty folder goes with its last file; the top may be empty."""
        empty = repository.trees.edit(None, {})
        root = repository.trees.edit(None, {"a/b/1": b"", "a/b/2": b"", "c": b""})
        assert repository.trees.edit(root, {"a/b/1": None, "a/b/2": None}) == repository.trees.edit(None, {"c": b""})
        assert repository.trees.edit(root, {"a": None, "c": None}) == empty
        assert list(repository.trees.walk(empty)) == []

    def test_removing_what_is_not_there_is_not_found(self, repository: Repository) -> None:
        """At any depth."""
        root = repository.trees.edit(None, {"a/1": b""})
        for path in ("b", "a/2", "b/c/d"):
            with pytest.raises(NotFound, match=path):
                repository.trees.edit(root, {path: None})

    def test_files_and_folders_do_not_take_each_others_place(self, repository: Repository) -> None:
        """What is there is removed by name, in an edit of its own."""
        root = repository.trees.edit(None, {"file": b"1", "folder/file": b"2"})
        folder = repository.trees.find(root, "folder")
        changes: list[dict[str, Source | None]] = [{"file/below": b""}, {"folder": b""}, {"file": folder}]
        for change in changes:
            with pytest.raises(Conflict, match="would become something else"):
                repository.trees.edit(root, change)
        assert repository.trees.find(repository.trees.edit(root, {"folder": folder}), "folder") == folder

    def test_one_edit_does_not_put_a_path_below_another(self, repository: Repository, store: ByteStore) -> None:
        """In whatever order they come; nothing is stored."""
        for paths in (["a", "a/b"], ["a/b", "a"], ["a/b", "a/b/c/d"], ["a/b/c/d", "a/b"]):
            with pytest.raises(Invalid, match="cannot both be"):
                repository.trees.edit(None, {path: path.encode() for path in paths})
        assert list(store.list()) == []

    def test_an_unsafe_path_is_refused(self, repository: Repository, store: ByteStore) -> None:
        """When it is written and when it is read; nothing is stored."""
        for path in UNSAFE_PATHS:
            refused(path, lambda path: repository.trees.edit(None, {path: b"x"}))
        assert list(store.list()) == []
        root = repository.trees.edit(None, {"a": b""})
        for path in UNSAFE_PATHS:
            refused(path, lambda path: repository.trees.find(root, path))
            refused(path, lambda path: repository.trees.get(root, path))

    def test_what_is_not_in_a_tree_is_not_found(self, repository: Repository) -> None:
        """Nor is a file read as a folder, or a folder as a file."""
        root = repository.trees.edit(None, {"a/b": b""})
        for path in ("b", "a/c", "a/b/c", "c/d"):
            with pytest.raises(NotFound, match=path):
                repository.trees.find(root, path)
        with pytest.raises(Invalid, match="is a folder"):
            repository.trees.get(root, "a")
        for missing in (
            lambda: repository.trees.read(MISSING),
            lambda: repository.trees.find(MISSING, "a"),
            lambda: list(repository.trees.walk(MISSING)),
            lambda: repository.trees.edit(MISSING, {"a": b""}),
            lambda: repository.trees.edit(None, {"a": MISSING}),
            lambda: repository.trees.edit(None, {"a": Entry("a", "tree", MISSING, 1)}),
        ):
            with pytest.raises(NotFound, match=MISSING):
                missing()

    def test_an_entry_that_no_tree_can_hold_is_refused(self, repository: Repository) -> None:
        """An empty folder, a size below zero, or another kind."""
        empty = repository.trees.edit(None, {})
        full = repository.trees.edit(None, {"a": b"1"})
        unknown: Any = "link"
        for entry in (Entry("a", "tree", empty, 0), Entry("a", "tree", full, -1), Entry("a", unknown, full, 1)):
            with pytest.raises(Invalid):
                repository.trees.edit(None, {"a": entry})

    @pytest.mark.parametrize(
        "crafted",
        [
            b"",
            b"hello",
            b'{"type":"commit"}',
            b'{"type":"tree","entries":[["..","blob","%s",1]]}' % (b"0" * 64),
            b'{"type":"tree","entries":[["a/b","blob","%s",1]]}' % (b"0" * 64),
            b'{"type":"tree","entries":[["a","link","%s",1]]}' % (b"0" * 64),
            b'{"type":"tree","entries":[["a","blob","../../x",1]]}',
            b'{"type":"tree","entries":[["a","blob","%s",-1]]}' % (b"0" * 64),
            b'{"type":"tree","entries":[["b","blob","%s",1],["a","blob","%s",1]]}' % (b"0" * 64, b"0" * 64),
            b'{"type":"tree","entries":[["a","blob","%s",1],["a","blob","%s",1]]}' % (b"0" * 64, b"0" * 64),
            b'{"type":"tree","entries":[],"more":1}',
        ],
        ids=range(11),
    )
    def test_an_object_that_is_no_tree_is_not_read_as_one(self, repository: Repository, crafted: bytes) -> None:
        """Names are checked on the way out as well as on the way in."""
        digest = repository.objects.put(crafted)
        with pytest.raises(Invalid, match="is not a tree"):
            repository.trees.read(digest)

    def test_a_tree_names_what_it_misses(self, repository: Repository, store: ByteStore) -> None:
        """A lost file or folder is a damage, with the path that leads there."""
        root = repository.trees.edit(None, {"a/b/c": b"lost"})
        blob, folder = repository.trees.find(root, "a/b/c").digest, repository.trees.find(root, "a/b").digest
        store.delete(f"objects/{blob[:2]}/{blob[2:]}")
        with pytest.raises(Corrupt, match=f"{blob} is missing.*'a/b/c' in tree {root}"):
            repository.trees.get(root, "a/b/c")
        store.delete(f"objects/{folder[:2]}/{folder[2:]}")
        for read in (
            lambda: repository.trees.find(root, "a/b/c"),
            lambda: list(repository.trees.walk(root)),
            lambda: repository.trees.edit(root, {"a/b/d": b""}),
        ):
            with pytest.raises(Corrupt, match=f"{folder} is missing"):
                read()

    def test_a_folder_of_files_becomes_a_tree(self, repository: Repository, tmp_path: Path) -> None:
        """The same as from its files, one by one; empty folders are left out."""
        (tmp_path / "data" / "deep" / "er").mkdir(parents=True)
        (tmp_path / "data" / "empty").mkdir()
        (tmp_path / "data" / "deep" / "er" / "file").write_bytes(b"1")
        (tmp_path / "data" / ".hidden").write_bytes(b"2")
        root = repository.trees.add_folder(tmp_path / "data")
        assert root == repository.trees.edit(None, {"deep/er/file": b"1", ".hidden": b"2"})
        with pytest.raises(NotFound, match="no folder"):
            repository.trees.add_folder(tmp_path / "nothing")

    def test_links_do_not_lead_out_of_a_folder(self, repository: Repository, store: ByteStore, tmp_path: Path) -> None:
        """They are refused by name, to files as to folders; nothing is stored."""
        (tmp_path / "secret").write_bytes(b"secret")
        for target in (tmp_path / "secret", tmp_path):
            folder = tmp_path / f"folder-{target.is_dir()}"
            folder.mkdir()
            (folder / "link").symlink_to(target)
            with pytest.raises(Invalid, match="link' is not a file"):
                repository.trees.add_folder(folder)
        assert list(store.list()) == []

    # -- commits ------------------------------------------------------------------------------------------------------

    def test_a_commit_comes_back_as_it_was_written(self, repository: Repository) -> None:
        """With the time in UTC; equal commits are one."""
        tree = repository.trees.edit(None, {"a": b"1"})
        other = repository.objects.put(b"schema")
        first = repository.commits.write(Commit(tree=tree, author="ada", message="Begin", time=_moment(1)))
        commit = Commit(
            tree=tree,
            parents=(first,),
            author="ada",
            message="Größer",
            time=datetime(2013, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))),
            schema=other,
            profile=other,
            facts={"rows": 3, "b": [1.5, None, {"x": "y"}], "a": True},
        )
        digest = repository.commits.write(commit)
        assert repository.commits.read(digest) == commit
        assert repository.commits.read(digest).time.tzinfo == UTC
        same = {"facts": {"a": True, "b": [1.5, None, {"x": "y"}], "rows": 3}, "time": commit.time.astimezone(UTC)}
        assert repository.commits.write(_replaced(commit, **same)) == digest

    @pytest.mark.parametrize(
        "wrong",
        [
            {"time": datetime(2013, 1, 1)},  # noqa: DTZ001 - a naive moment is what is refused
            {"tree": "x"},
            {"parents": ("x",)},
            {"schema": "x"},
            {"facts": {"x": float("nan")}},
            {"facts": {"x": float("inf")}},
            {"facts": {1: "x"}},
            {"facts": {"x": (1, 2)}},
            {"facts": {"x": object()}},
            {"facts": {"x": datetime(2013, 1, 1, tzinfo=UTC)}},
            {"message": "\udcff"},
        ],
        ids=range(11),
    )
    def test_what_cannot_be_a_commit_is_refused(self, repository: Repository, wrong: dict[str, Any]) -> None:
        """Facts are JSON that comes back the same."""
        tree = repository.trees.edit(None, {})
        commit = Commit(tree=tree, author="ada", message="", time=_moment(1))
        with pytest.raises(Invalid):
            repository.commits.write(_replaced(commit, **wrong))

    @pytest.mark.parametrize("field", ["tree", "parents", "schema", "profile"])
    def test_a_commit_names_only_what_is_stored(self, repository: Repository, field: str) -> None:
        """A version is whole or is not."""
        commit = Commit(tree=repository.trees.edit(None, {}), author="ada", message="", time=_moment(1))
        with pytest.raises(NotFound, match=MISSING):
            repository.commits.write(_replaced(commit, **{field: (MISSING,) if field == "parents" else MISSING}))

    def test_an_object_that_is_no_commit_is_not_read_as_one(self, repository: Repository) -> None:
        """Nor is one that is not there."""
        tree = repository.trees.edit(None, {})
        with pytest.raises(Invalid, match="is not a commit"):
            repository.commits.read(tree)
        with pytest.raises(Invalid, match="is not a commit"):
            list(repository.commits.log(tree))
        with pytest.raises(NotFound, match=MISSING):
            repository.commits.read(MISSING)
        with pytest.raises(NotFound, match=MISSING):
            list(repository.commits.log(MISSING))

    def test_a_log_gives_each_commit_once_newest_first(self, repository: Repository) -> None:
        """Also where branches were merged."""
        tree = repository.trees.edit(None, {})

        def write(hour: int, *parents: str) -> str:
            return repository.commits.write(
                Commit(tree=tree, parents=parents, author="ada", message=str(hour), time=_moment(hour))
            )

        first = write(1)
        left, right = write(3, first), write(2, first)
        merged = write(5, left, right)
        assert [digest for digest, _ in repository.commits.log(merged)] == [merged, left, right, first]
        assert [commit.message for _, commit in repository.commits.log(right)] == ["2", "1"]

    def test_a_log_names_the_commit_it_misses(self, repository: Repository, store: ByteStore) -> None:
        """What came before is a promise."""
        tree = repository.trees.edit(None, {})
        first = repository.commits.write(Commit(tree=tree, author="ada", message="", time=_moment(1)))
        second = repository.commits.write(
            Commit(tree=tree, parents=(first,), author="ada", message="", time=_moment(2))
        )
        store.delete(f"objects/{first[:2]}/{first[2:]}")
        with pytest.raises(Corrupt, match=f"{first} is missing.*commit {second}"):
            list(repository.commits.log(second))

    # -- refs ---------------------------------------------------------------------------------------------------------

    def test_a_ref_moves_from_where_it_is_known_to_stand(self, repository: Repository) -> None:
        """And only from there."""
        one, two, three = (repository.objects.put(data) for data in (b"1", b"2", b"3"))
        repository.refs.move("datasets/late/main", None, one)
        assert repository.refs.read("datasets/late/main") == one
        repository.refs.move("datasets/late/main", one, two)
        for expected in (None, one, three):
            with pytest.raises(Conflict, match="moved meanwhile") as refused:
                repository.refs.move("datasets/late/main", expected, three)
            assert refused.value.details["actual"] == two
        assert repository.refs.read("datasets/late/main") == two
        with pytest.raises(Conflict, match="nothing") as refused:
            repository.refs.move("datasets/late/dev", one, two)
        assert refused.value.details["actual"] is None

    def test_a_move_can_be_asked_again(self, repository: Repository) -> None:
        """To move a ref to where it stands is no error."""
        one, two = repository.objects.put(b"1"), repository.objects.put(b"2")
        for _ in range(2):
            repository.refs.move("main", None, one)
        for _ in range(2):
            repository.refs.move("main", one, two)
        assert repository.refs.read("main") == two

    def test_a_ref_does_not_move_to_nothing(self, repository: Repository) -> None:
        """A name shows a whole thing or none."""
        with pytest.raises(NotFound, match=MISSING):
            repository.refs.move("main", None, MISSING)
        with pytest.raises(NotFound, match="main"):
            repository.refs.read("main")

    def test_refs_are_listed_by_folder(self, repository: Repository) -> None:
        """A name may be a folder of other names."""
        one = repository.objects.put(b"1")
        names = {"a", "a/b", "a/b/c", "ab", "x.y/z-1"}
        for name in names:
            repository.refs.move(name, None, one)
        assert set(repository.refs.list()) == names
        assert set(repository.refs.list("a")) == {"a/b", "a/b/c"}
        assert set(repository.refs.list("nothing")) == set()

    def test_a_ref_is_deleted_once_or_twice(self, repository: Repository) -> None:
        """Its objects stay, and it can be made again."""
        one = repository.objects.put(b"1")
        repository.refs.move("a/main", None, one)
        for _ in range(2):
            repository.refs.delete("a/main")
        assert list(repository.refs.list()) == []
        with pytest.raises(NotFound):
            repository.refs.read("a/main")
        assert repository.objects.get(one) == b"1"
        repository.refs.move("a/main", None, one)

    def test_an_unsafe_name_of_a_ref_is_refused(self, repository: Repository) -> None:
        """By every method."""
        one = repository.objects.put(b"1")
        for name in [*UNSAFE_KEYS, "a.ref", "a.ref/b", "a/b.ref"]:
            refused(name, repository.refs.read)
            refused(name, lambda name: repository.refs.move(name, None, one))
            refused(name, repository.refs.delete)
            if name and ".ref" not in name:
                refused(name, repository.refs.list)
        assert list(repository.refs.list()) == []

    @pytest.mark.parametrize("stored", [b"", b"\xff", b"0" * 63, b"0" * 64 + b"\n"], ids=range(4))
    def test_an_altered_ref_is_refused_and_named(self, repository: Repository, store: ByteStore, stored: bytes) -> None:
        """Also when it is to be moved."""
        one = repository.objects.put(b"1")
        store.write("refs/a/main.ref", stored)
        with pytest.raises(Corrupt, match="a/main"):
            repository.refs.read("a/main")
        with pytest.raises(Corrupt, match="a/main"):
            repository.refs.move("a/main", one, one)

    def test_of_threads_that_move_a_ref_each_move_counts(self, repository: Repository) -> None:
        """A history made by many has no gap."""
        tree = repository.trees.edit(None, {})

        def commit(author: int) -> None:
            for n in range(3):
                while True:
                    try:
                        before = repository.refs.read("main")
                    except NotFound:
                        before = None
                    mine = repository.commits.write(
                        Commit(
                            tree=tree,
                            parents=() if before is None else (before,),
                            author=str(author),
                            message=str(n),
                            time=_moment(1),
                        )
                    )
                    try:
                        repository.refs.move("main", before, mine)
                    except Conflict:
                        continue
                    break

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(commit, range(4)))
        made = {(commit.author, commit.message) for _, commit in repository.commits.log(repository.refs.read("main"))}
        assert made == {(str(author), str(n)) for author in range(4) for n in range(3)}


def _moment(hour: int) -> datetime:
    return datetime(2013, 1, 1, hour, tzinfo=UTC)


def _replaced(commit: Commit, **fields: Any) -> Commit:
    return Commit(**{name: fields.get(name, getattr(commit, name)) for name in commit.__struct_fields__})
