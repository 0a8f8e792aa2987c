"""Artifacts: what fits is served, what does not names itself; copies on disk are verified whenever they are read."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from undrift.blobs import Repository, open_store
from undrift.core.errors import Corrupt, Invalid, NotFound, Unavailable, UndriftError
from undrift.registry import Field, Signature
from undrift.serving.artifacts import Artifacts
from undrift.serving.runtime import Runtime

SIGNATURE = Signature((Field("a", "float"), Field("b", "float")), "classification", "late")
ENCODED = msgspec.json.encode(SIGNATURE)


def model(weights=(0.0, 0.0), bias=0.25, columns=2):
    """ONNX that gives p = bias + weights * row, as [rows] (0 columns), [rows, 1], or [rows, columns] of 1 - p and p."""
    matrix = np.array(weights, dtype=np.float32).reshape(len(weights), 1)
    constants = [
        numpy_helper.from_array(matrix, "w"),
        numpy_helper.from_array(np.array([bias], np.float32), "b"),
        numpy_helper.from_array(np.array([1.0], np.float32), "one"),
        numpy_helper.from_array(np.array([1], np.int64), "axes"),
    ]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["p"])]
    output, shape = "p", [None, 1]
    if columns == 0:
        nodes.append(helper.make_node("Squeeze", ["p", "axes"], ["flat"]))
        output, shape = "flat", [None]
    if columns >= 2:
        nodes.append(helper.make_node("Sub", ["one", "p"], ["q"]))
        nodes.append(helper.make_node("Concat", ["q", *["p"] * (columns - 1)], ["all"], axis=1))
        output, shape = "all", [None, columns]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()


def runtime(content, signature=ENCODED):
    return Runtime("d" * 64, content, signature)


@pytest.mark.parametrize("columns", [0, 1, 2])
def test_scores_are_the_probability_of_the_positive_class(columns):
    loaded = runtime(model((0.5, 0.0), 0.25, columns))
    scores = loaded.predict(np.array([[1.0, 0.0], [0.0, 9.0]], dtype=np.float32))
    assert scores.dtype == np.float64
    assert scores.tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("content", "signature", "said"),
    [
        (b"", ENCODED, "refuses"),
        (b"no onnx at all", ENCODED, "refuses"),
        (model((1.0, 1.0, 1.0)), ENCODED, "takes 3 inputs, and its signature names 2"),
        (model(columns=3), ENCODED, "must be floats of shape"),
        (model(), b"{}", "signature.json cannot be read"),
        (model(), b"\xff", "signature.json cannot be read"),
        (
            model(columns=2),
            msgspec.json.encode(msgspec.structs.replace(SIGNATURE, task="regression")),
            "must be floats",
        ),
    ],
)
def test_an_artifact_that_cannot_be_served_names_itself_and_what_to_do(content, signature, said):
    with pytest.raises(Corrupt, match=said) as caught:
        runtime(content, signature)
    assert "d" * 64 in caught.value.message
    assert caught.value.next_step


def test_tensors_in_other_files_are_refused(tmp_path, monkeypatch):
    made = onnx.load_from_string(model())
    onnx.save_model(made, str(tmp_path / "m.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    # Where the other file does lie beside the process.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Corrupt, match="ONNX Runtime refuses"):
        runtime((tmp_path / "m.onnx").read_bytes())


@pytest.fixture
def stored(repository):
    return repository.trees.edit(None, {"model.onnx": model(), "signature.json": ENCODED, "notes.txt": b"not needed"})


def test_an_artifact_is_kept_and_served_when_the_store_is_away(repository, stored, tmp_path):
    cache = tmp_path / "cache"
    Artifacts(repository, cache).load(stored)
    assert sorted(path.name for path in (cache / stored).iterdir()) == ["model.onnx", "signature.json", "tree.json"]
    empty = Repository(open_store("memory://"))
    assert Artifacts(empty, cache).load(stored).signature == SIGNATURE
    with pytest.raises(NotFound):
        Artifacts(empty, tmp_path / "other").load(stored)


@pytest.mark.parametrize("name", ["model.onnx", "signature.json", "tree.json"])
@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", lambda content: content + b" "])
def test_a_damaged_copy_is_fetched_again_and_never_loaded(repository, stored, tmp_path, name, damage):
    cache = tmp_path / "cache"
    Artifacts(repository, cache).load(stored)
    path = cache / stored / name
    good = path.read_bytes()
    path.write_bytes(damage(good))
    with pytest.raises(UndriftError):
        Artifacts(Repository(open_store("memory://")), cache).load(stored)
    assert Artifacts(repository, cache).load(stored).signature == SIGNATURE
    assert path.read_bytes() == good


def test_an_artifact_that_was_altered_in_the_store_is_refused(repository, stored, tmp_path):
    digest = repository.trees.find(stored, "model.onnx").digest
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file() and digest[2:] in path.name)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(Corrupt):
        Artifacts(repository, tmp_path / "cache").load(stored)


def test_what_is_no_digest_leads_nowhere(repository, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    with pytest.raises(Invalid):
        Artifacts(repository, tmp_path / "cache").load("../victim")
    assert victim.exists()


def test_a_disk_that_takes_no_copy_does_not_keep_a_model_from_serving(repository, stored, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    assert Artifacts(repository, tmp_path / "cache").load(stored).signature == SIGNATURE


def test_copies_that_no_route_uses_go_but_for_the_newest(repository, tmp_path):
    cache = tmp_path / "cache"
    artifacts = Artifacts(repository, cache)
    digests = []
    for place in range(16):
        tree = {"model.onnx": model(bias=place / 100), "signature.json": ENCODED}
        digests.append(repository.trees.edit(None, tree))
        artifacts.load(digests[-1])
    artifacts.prune({digests[0]})
    left = {path.name for path in cache.iterdir()}
    assert digests[0] in left
    assert len(left) == 13


def test_a_store_that_is_away_is_told_as_such(stored, tmp_path):
    class Away:
        class objects:  # noqa: N801 - as in a Repository
            @staticmethod
            def get(digest):
                raise Unavailable("The bucket does not answer.")

    with pytest.raises(Unavailable):
        Artifacts(Away, tmp_path / "cache").load(stored)
