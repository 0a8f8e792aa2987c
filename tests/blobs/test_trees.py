from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.blobs import Repository, open_store
from undrift.core.errors import Invalid

NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\:"), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(st.sampled_from("abc") | NAMES, min_size=1, max_size=4).map("/".join)


def without_clashes(files):
    """Drop what lies below another path, as no file system could hold both."""
    return {path: data for path, data in files.items() if not any(path.startswith(f"{other}/") for other in files)}


FILES = st.dictionaries(PATHS, st.binary(max_size=4), max_size=12).map(without_clashes)


def content(repository, root):
    return {path: repository.trees.get(root, path) for path, _ in repository.trees.walk(root)}


@pytest.fixture(scope="module")
def repository():
    return Repository(open_store("memory://"))


@given(files=FILES)
def test_a_tree_gives_back_what_was_put_in(repository, files):
    root = repository.trees.edit(None, files)
    assert content(repository, root) == files
    assert repository.trees.read(root).size_bytes == sum(map(len, files.values()))
    for path, data in files.items():
        assert repository.trees.find(root, path).size_bytes == len(data)


@given(files=FILES, chance=st.randoms(use_true_random=False))
def test_the_order_of_construction_does_not_show(repository, files, chance):
    paths = list(files)
    chance.shuffle(paths)
    one_by_one = repository.trees.edit(None, {})
    for path in paths:
        one_by_one = repository.trees.edit(one_by_one, {path: files[path]})
    assert one_by_one == repository.trees.edit(None, {path: files[path] for path in paths})
    assert one_by_one == repository.trees.edit(None, files)


@given(before=FILES, after=FILES)
def test_an_edit_equals_a_rebuild(repository, before, after):
    root = repository.trees.edit(None, before)
    # A path that becomes a folder, or stops being one, is removed in an edit of its own.
    cleared = repository.trees.edit(root, dict.fromkeys(before.keys() - after.keys()))
    assert cleared == repository.trees.edit(None, {path: data for path, data in before.items() if path in after})
    assert repository.trees.edit(cleared, after) == repository.trees.edit(None, after)


@given(files=FILES, added=PATHS, data=st.binary(max_size=4))
def test_removing_what_was_added_leads_back(repository, files, added, data):
    files = {path: data for path, data in files.items() if not f"{added}/".startswith(f"{path}/")}
    files = {path: data for path, data in files.items() if not path.startswith(f"{added}/")}
    root = repository.trees.edit(None, files)
    assert repository.trees.edit(repository.trees.edit(root, {added: data}), {added: None}) == root


class Counting:
    """A store that counts what it is asked."""

    def __init__(self, store):
        self.store = store
        self.asked = Counter()

    def __getattr__(self, name):
        def asked(*args):
            self.asked[name] += 1
            return getattr(self.store, name)(*args)

        return asked


def test_adding_one_file_costs_one_path():
    store = Counting(open_store("memory://"))
    repository = Repository(store)
    root = repository.trees.edit(None, {f"{n % 10}/{n % 100}/{n}": b"%d" % n for n in range(1000)})
    store.asked.clear()
    repository.trees.edit(root, {"3/13/new": b"new"})
    assert store.asked == {"read": 3, "size": 4, "write": 4}


def test_what_is_there_already_is_not_written_again():
    store = Counting(open_store("memory://"))
    repository = Repository(store)
    files = {f"{n % 10}/{n}": b"%d" % n for n in range(100)}
    root = repository.trees.edit(None, files)
    store.asked.clear()
    assert repository.trees.edit(None, files) == root
    assert store.asked["write"] == 0


def test_the_digest_of_a_tree_stays_the_same_in_every_release():
    repository = Repository(open_store("memory://"))
    root = repository.trees.edit(None, {"a/ä.txt": b"1", "b": b"2"})
    assert root == "04a9ff4b98b59f34971863ebd9300d5cd356d6d285b95897398502f465ea57d1"
    assert repository.objects.get(root).startswith(b'{"type":"tree","entries":[["a","tree","')


def test_a_tree_made_by_hand_is_not_walked_without_end():
    repository = Repository(open_store("memory://"))
    digest = repository.trees.edit(None, {})
    for _ in range(150):
        digest = repository.objects.put(b'{"type":"tree","entries":[["a","tree","%s",0]]}' % digest.encode())
    with pytest.raises(Invalid, match="cannot be a path"):
        list(repository.trees.walk(digest))


def test_many_files_are_stored_from_a_folder(tmp_path):
    chance = random.Random(1)
    for n in range(300):
        path = tmp_path / f"{n % 7}" / f"{n}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(chance.randbytes(100))
    repository = Repository(open_store("memory://"))
    root = repository.trees.add_folder(tmp_path)
    assert content(repository, root) == {
        path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.bin")
    }
