from __future__ import annotations

import pytest

from undrift.blobs import Repository
from undrift.blobs.collection import Needed, collecting, sweep
from undrift.core import new_id
from undrift.core.errors import Conflict, Corrupt, Forbidden, Invalid, NotFound
from undrift.registry import (
    DeleteVersion,
    DescribeVersion,
    FindModel,
    FindVersion,
    ListVersions,
    MoveStage,
    RetireVersion,
    Signature,
    TagVersion,
    TrustVersion,
    UntagVersion,
    alias_history,
    check_loadable,
    delete_version,
    describe_version,
    find_model,
    find_version,
    list_versions,
    move_stage,
    retire_version,
    stage_history,
    tag_version,
    trust_version,
    untag_version,
)

PYFUNC = b"""\
flavors:
  python_function:
    code: null
    loader_module: mlflow.pyfunc.model
    python_model: python_model.pkl
signature:
  inputs: '[{"type": "double", "name": "temp", "required": false}, {"type": "long",
    "name": "hour", "required": true}]'
  outputs: '[{"type": "double", "required": true}]'
  params: null
"""
XGBOOST = b"""\
flavors:
  python_function: {data: model.ubj, loader_module: mlflow.xgboost}
  xgboost: {code: null, data: model.ubj, model_class: xgboost.sklearn.XGBRegressor}
"""


def find(ctx, number):
    return find_version(ctx, FindVersion("flights", "late", number=number))


def test_a_version_may_be_bound_to_nothing_but_its_name(on, add):
    made = add(on(), artifact=None, source="s3://models/late", run_link="http://elsewhere/runs/1")
    assert (made.run_id, made.artifact, made.format, made.signature) == (None, None, None, None)
    assert find(on(), 1) == made
    with pytest.raises(Conflict, match="has no signature"):
        _ = made.contract
    with pytest.raises(Conflict, match="not in the store"):
        _ = made.files


def test_everything_a_client_says_of_a_version_is_kept(on, add, told):
    given = {
        "run_id": new_id(),
        "source": "runs:/0123/model",
        "run_link": "http://hub/runs/0123",
        "logged_model_id": "m-" + "0" * 32,
        "description": "The first.",
        "tags": {"team": "ops", "a/b": ""},
        "key": "nightly",
        "format": "onnx",
    }
    made = add(on(), **given)
    assert {name: getattr(made, name) for name in given} == given
    assert find(on(), 1) == made
    ((_, data),) = told(on(), "model.version_registered")
    assert (data["source"], data["tags"], data["number"]) == ("runs:/0123/model", given["tags"], 1)


@pytest.mark.parametrize(
    "given",
    [
        {"tags": {"a;b": "x"}},
        {"source": "x" * 8_001},
        {"description": "a\0"},
        {"key": "x" * 251},
        {"logged_model_id": "m" * 51},
        {"run_id": "mine"},
        {"signature": Signature((), "regression", "y")},
    ],
)
def test_what_cannot_be_kept_is_refused(on, add, given):
    with pytest.raises(Invalid):
        add(on(), **given)
    assert list_versions(on(), ListVersions("flights", "late")) == []


def test_description_and_tags_are_what_changes_of_a_version(on, add):
    made = add(on())
    described = describe_version(on(day=1), DescribeVersion("flights", "late", 1, "The first."))
    tag_version(on(day=2), TagVersion("flights", "late", 1, {"team": "ops", "x": "1"}))
    tag_version(on(day=2), TagVersion("flights", "late", 1, {"x": "2"}))
    found = find(on(), 1)
    assert (found.description, found.tags) == ("The first.", {"team": "ops", "x": "2"})
    assert (found.updated_at, found.created_at) == (described.updated_at, made.created_at)
    untag_version(on(), UntagVersion("flights", "late", 1, "x"))
    untag_version(on(), UntagVersion("flights", "late", 1, "never"))
    assert find(on(), 1).tags == {"team": "ops"}


def test_a_deleted_version_is_out_of_reach_and_its_number_is_not_given_again(on, add, move, told):
    add(on()), add(on(), key="nightly")
    move(on(), 2)
    move(on(), 2, alias="canary")
    delete_version(on(day=1), DeleteVersion("flights", "late", 2, "It was trained on the test set."))
    with pytest.raises(NotFound, match="Version 2 of 'late' was deleted"):
        find(on(), 2)
    with pytest.raises(NotFound):
        move(on(), 2)
    with pytest.raises(NotFound):
        delete_version(on(), DeleteVersion("flights", "late", 2))
    summary = find_model(on(), FindModel("flights", "late"))
    assert (summary.newest, summary.aliases, [one.number for one in summary.latest]) == (1, {}, [1])
    removed = alias_history(on(), ListVersions("flights", "late"))[:2]
    assert {(one.alias, one.number, one.previous) for one in removed} == {("canary", None, 2), ("champion", None, 2)}
    assert [kind for kind, _ in told(on())][-3:] == [
        "model.alias_removed",
        "model.alias_removed",
        "model.version_deleted",
    ]
    # The key is free: who registers under it again means a new version.
    assert add(on(), key="nightly").number == 3


def test_retired_versions_stay_and_never_come_back(on, add, move, told):
    add(on())
    with pytest.raises(Invalid, match="without a reason"):
        retire_version(on(), RetireVersion("flights", "late", 1, "  "))
    retired = retire_version(on(day=1), RetireVersion("flights", "late", 1, "Too old."))
    assert retire_version(on(day=2), RetireVersion("flights", "late", 1, "Again.")) == retired == find(on(), 1)
    with pytest.raises(Conflict, match=r"is retired: Too old\."):
        move(on(), 1)
    with pytest.raises(Conflict, match="is retired"):
        move_stage(on(), MoveStage("flights", "late", 1, "Production"))
    assert move_stage(on(), MoveStage("flights", "late", 1, "Archived")).stage == "Archived"
    assert len(told(on(), "model.version_retired")) == 1


def test_latest_is_the_newest_version_that_there_was(on, add):
    with pytest.raises(NotFound, match="has no version"):
        find_version(on(), FindVersion("flights", "late", alias="latest"))
    add(on()), add(on(day=5)), add(on(day=9))
    delete_version(on(day=9), DeleteVersion("flights", "late", 3))
    assert find_version(on(), FindVersion("flights", "late", alias="Latest")).number == 2
    asked = FindVersion("flights", "late", alias="latest", as_of=on(day=3).now())
    assert find_version(on(), asked).number == 1


def test_stages_have_a_history_with_who_when_and_why(on, add):
    add(on()), add(on())
    assert find(on(), 1).stage == "None"
    asked = MoveStage("flights", "late", 1, "production", reason="It is better.")
    assert move_stage(on("bob", day=1), asked).stage == "Production"
    move_stage(on("bob", day=2), asked)
    move_stage(on("eve", day=3), MoveStage("flights", "late", 2, "Production", archive_existing=True))
    assert (find(on(), 1).stage, find(on(), 2).stage) == ("Archived", "Production")
    history = stage_history(on(), ListVersions("flights", "late"))
    assert [(one.number, one.previous, one.stage, one.actor) for one in history] == [
        (2, "None", "Production", "eve"),
        (1, "Production", "Archived", "eve"),
        (1, "None", "Production", "bob"),
    ]
    assert history[1].reason == "Version 2 took its place."
    assert (history[2].reason, history[2].until) == ("It is better.", history[1].at)
    assert find(on(), 1).updated_at == history[1].at


def test_the_newest_version_of_each_stage_is_known_of_a_model(on, add):
    for _ in range(5):
        add(on())
    for number, stage in {1: "Production", 2: "Production", 3: "Staging", 5: "Archived"}.items():
        move_stage(on(), MoveStage("flights", "late", number, stage))
    move_stage(on(), MoveStage("flights", "late", 5, "None"))
    delete_version(on(), DeleteVersion("flights", "late", 3))
    latest = find_model(on(), FindModel("flights", "late")).latest
    assert {one.stage: one.number for one in latest} == {"Production": 2, "None": 5}
    assert latest[0] == find(on(), latest[0].number)


@pytest.mark.parametrize(
    ("stage", "archive", "said"),
    [
        ("Live", False, "Value must be one of None, Staging, Production, Archived"),
        ("Archived", True, "Only versions in stage Staging or Production are archived"),
        ("None", True, "Only versions in stage Staging or Production are archived"),
    ],
)
def test_a_stage_that_is_none_is_refused(on, add, stage, archive, said):
    add(on())
    with pytest.raises(Invalid, match=said):
        move_stage(on(), MoveStage("flights", "late", 1, stage, archive_existing=archive))


def test_the_signature_is_read_from_an_mlmodel_file_with_what_may_be_missing(on, add):
    made = add(on(), files={"MLmodel": PYFUNC, "python_model.pkl": b"\x80\x04."})
    assert made.format == "mlflow"
    assert [(one.name, one.type, one.nullable) for one in made.contract.inputs] == [
        ("temp", "float", True),
        ("hour", "int", False),
    ]
    assert made.raw_signature["outputs"] == '[{"type": "double", "required": true}]'
    assert find(on(), 1) == made


def test_a_version_keeps_its_bytes_from_whoever_collects_just_then(on, add, repository):
    """They were stored days ago, nothing has named them since, and somebody is about to remove them."""
    files = {"model.onnx": b"model", "data/more": b"more"}
    tree = repository.trees.edit(None, files)
    profile = repository.objects.put(b"profile")
    ctx = on()
    ctx.repository = Repository(repository.store)
    needed = Needed()  # as it was found before the version was registered
    version = add(ctx, artifact=tree, reference_profile=profile)

    class Judge:
        def ripe(self, found):
            return {digest for digest, _ in found}

        def forget(self, digests):
            pass

        def confirm(self, digests):
            return set(digests) - {version.artifact, version.reference_profile}

        def spared(self, digests):
            pass

    with collecting(repository.store) as rounds:
        sweep(repository, needed, Judge(), rounds)
    again = Repository(repository.store)
    assert {path: again.objects.get(entry.digest) for path, entry in again.trees.walk(tree)} == files
    assert again.objects.get(profile) == b"profile"


@pytest.mark.parametrize("gone", ["model.onnx", "data", "profile"])
def test_a_version_of_which_bytes_are_missing_is_not_registered(on, add, repository, gone):
    tree = repository.trees.edit(None, {"model.onnx": b"model", "data/more": b"more"})
    profile = repository.objects.put(b"profile")
    digest = profile if gone == "profile" else repository.trees.find(tree, gone).digest
    repository.store.delete(f"objects/{digest[:2]}/{digest[2:]}")
    with pytest.raises((NotFound, Corrupt)):
        add(on(), artifact=tree, reference_profile=profile)


def test_bytes_that_could_run_code_are_loaded_only_when_a_person_answers_for_them(on, add, told):
    made = add(on(), files={"MLmodel": PYFUNC, "python_model.pkl": b"\x80\x04."})
    assert made.unsafe[0] == "python_model.pkl is a pickle"
    with pytest.raises(Forbidden, match="could run any code") as caught:
        check_loadable(on(), made)
    assert "undrift models trust late 1 --reason" in caught.value.next_step
    with pytest.raises(Forbidden, match="Only a person"):
        trust_version(on("worker", kind="service"), TrustVersion("flights", "late", 1, "It is ours."))
    with pytest.raises(Invalid, match="without a reason"):
        trust_version(on(), TrustVersion("flights", "late", 1, " "))
    trusted = trust_version(on("bob", day=1), TrustVersion("flights", "late", 1, "Our own run made it."))
    assert (trusted.trust.by, trusted.trust.reason) == ("bob", "Our own run made it.")
    assert trust_version(on("eve"), TrustVersion("flights", "late", 1, "Me too.")) == trusted == find(on(), 1)
    assert check_loadable(on(), trusted) == made.artifact
    ((_, data),) = told(on(), "model.version_trusted")
    assert (data["artifact"], data["reason"]) == (made.artifact, "Our own run made it.")


def test_trust_is_of_one_version_only(on, add):
    files = {"MLmodel": PYFUNC, "python_model.pkl": b"\x80\x04."}
    add(on(), files=files), add(on(), files=files)
    trust_version(on(), TrustVersion("flights", "late", 1, "I made it."))
    with pytest.raises(Forbidden):
        check_loadable(on(), find(on(), 2))


def test_nobody_answers_for_files_that_are_not_here(on, add):
    made = add(on(), artifact=None, source="s3://models/late", format="pickle")
    with pytest.raises(Conflict, match="not in the store"):
        trust_version(on(), TrustVersion("flights", "late", 1, "It will be fine."))
    with pytest.raises(Conflict, match="not in the store"):
        check_loadable(on(), made)


@pytest.mark.parametrize(
    ("files", "given"),
    [
        ({"model.onnx": b"x"}, {}),
        ({"model.txt": b"x"}, {"format": "lightgbm"}),
        ({"weights/model.safetensors": b"x"}, {"format": "safetensors"}),
        ({"MLmodel": XGBOOST, "model.ubj": b"x", "requirements.txt": b"xgboost"}, {}),
    ],
)
def test_formats_that_run_no_code_need_no_trust(on, add, files, given):
    made = add(on(), files=files, **given)
    assert made.unsafe == ()
    assert check_loadable(on(), made) == made.artifact


@pytest.mark.parametrize(
    ("files", "given"),
    [
        ({"model.bin": b"x"}, {}),
        ({"model.bin": b"x"}, {"format": "pickle"}),
        ({"MODEL.PKL": b"x"}, {"format": "onnx"}),
        ({"deep/down/here.joblib": b"x", "model.onnx": b"x"}, {}),
        ({"model.txt": b"x"}, {"format": "mlflow"}),
        ({"MLmodel": b"a: &x 1\nb: *x"}, {}),
        ({"MLmodel": b"\xff\xfe"}, {}),
        ({"MLmodel": b"flavors: {}"}, {}),
    ],
)
def test_what_is_not_known_to_be_safe_is_not_safe(on, add, files, given):
    made = add(on(), files=files, **given)
    assert made.unsafe
    with pytest.raises(Forbidden):
        check_loadable(on(), made)
