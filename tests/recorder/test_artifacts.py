"""Files named by training code become artifacts of the run."""

from __future__ import annotations

import pytest

import undrift as ud
from undrift.recorder import sync_runs
from undrift.transfer import download


@pytest.fixture
def fetch(workspace, tmp_path):
    """Read all artifacts of a run."""

    def read(run_id):
        target = tmp_path / f"fetched-{run_id}"
        target.mkdir()
        with ud.connect(workspace) as client:
            download(client, run_id, "", target)
        return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}

    return read


def test_files_folders_and_contents_arrive(record, fetch, tmp_path):
    folder = tmp_path / "plots"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b.txt").write_text("b")
    with record() as run:
        run.artifact(folder / "a.txt")
        run.artifact(folder / "a.txt", "other/name.txt")
        run.artifact("note.txt", content="note")
        run.artifact(folder)
        run.artifacts(folder)
        run.artifacts(folder, "below/here")
    assert fetch(run.id) == {
        "a.txt": b"a",
        "other/name.txt": b"a",
        "note.txt": b"note",
        "plots/a.txt": b"a",
        "plots/deep/b.txt": b"b",
        "deep/b.txt": b"b",
        "below/here/a.txt": b"a",
        "below/here/deep/b.txt": b"b",
    }
    assert not run.losses


def test_a_file_that_is_removed_or_written_to_afterwards_arrives_as_it_was(record, fetch, tmp_path):
    (tmp_path / "small").write_text("before")
    (tmp_path / "big").write_bytes(b"x" * (9 << 20))
    with record() as run:
        run.artifact(tmp_path / "small")
        run.artifact(tmp_path / "big")
        (tmp_path / "small").write_text("after")
        (tmp_path / "big").unlink()
    found = fetch(run.id)
    assert found["small"] == b"before"
    assert len(found["big"]) == 9 << 20


def test_contents_find_room_again_once_others_were_sent(record, fetch, find, eventually, monkeypatch):
    from undrift.recorder import spool

    monkeypatch.setattr(spool, "_KEEP_BYTES", 10_000)
    run = record()
    for number in range(5):
        run.artifact(f"{number}.txt", content=str(number) * 4_000)
        eventually(lambda: run._spool.kept_bytes == 0)
    run.end(wait_s=30)
    assert {path: len(data) for path, data in fetch(run.id).items()} == {f"{n}.txt": 4_000 for n in range(5)}
    assert run.losses == {}


def test_a_content_that_finds_no_room_is_counted_and_one_that_is_big_arrives(
    record, fetch, runs, workspace, monkeypatch
):
    from undrift.recorder import spool

    monkeypatch.setattr(spool, "_KEEP_BYTES", 10 << 20)
    run = record(offline=True)
    run.artifact("big.txt", content=b"x" * (9 << 20))
    run.artifact("more.txt", content=b"x" * (2 << 20))
    run.end()
    assert run.losses == {"missing_artifacts": 1}
    list(sync_runs(target=workspace))
    assert {path: len(data) for path, data in fetch(run.id).items()} == {"big.txt": 9 << 20}


def test_a_big_file_that_is_written_to_in_place_is_said_to_have_changed(record, fetch, find, tmp_path, runs, workspace):
    (tmp_path / "big").write_bytes(b"x" * (9 << 20))
    run = record(offline=True)
    run.artifact(tmp_path / "big")
    with (tmp_path / "big").open("r+b") as file:
        file.write(b"changed")
    run.end()
    (there,) = sync_runs(target=workspace)
    assert (there.state, there.files) == ("sent", 1)
    assert find(run.id).tags["undrift.changed_artifacts"] == "big"


def test_a_name_that_leads_out_is_refused_and_the_rest_arrives(record, fetch, find):
    with record() as run:
        run.artifact("../outside", "../outside", content="no")
        run.artifact("inside", content="yes")
        run.log(loss=1)
    assert fetch(run.id) == {"inside": b"yes"}
    there = find(run.id)
    assert there.status == "finished"
    assert there.tags["undrift.refused"] == "1"


def test_the_code_of_a_run_is_an_artifact_and_a_tree(train, workspace, find, fetch):
    process = train(
        "import sys\nimport undrift as ud\nwith ud.run('flights', target=sys.argv[1]) as run: print(run.id)\n",
        workspace,
        UNDRIFT_EXIT_WAIT="40",
    )
    out, err = process.communicate(timeout=60)
    run = find(out.strip())
    found = fetch(run.id)
    assert b"import undrift as ud" in found["undrift/source/train.py"], err
    assert {"undrift/environment.json", "undrift/hardware.json", "undrift/source.json"} <= set(found)
    code = next(link for link in run.links if link.kind == "code")
    from undrift.workspace import Workspace

    opened = Workspace.open(workspace)
    try:
        assert opened.repository.trees.get(code.ref, "train.py") == found["undrift/source/train.py"]
        environment = next(link for link in run.links if link.kind == "environment")
        assert opened.repository.objects.get(environment.ref) == found["undrift/environment.json"]
    finally:
        opened.close()
