"""`undrift import` and `undrift export` as a person calls them."""

from __future__ import annotations

import json

import pytest

from undrift.cli.app import run
from undrift.workspace import Workspace


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    Workspace.open(tmp_path / ".undrift", create=True).close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNDRIFT_WORKSPACE", raising=False)

    def call(*args):
        capfd.readouterr()
        code = run([str(arg) for arg in args])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def store(tmp_path):
    run_folder = tmp_path / "mlruns/1/0123456789abcdef0123456789abcdef"
    for part in ("metrics", "params", "tags", "artifacts"):
        (run_folder / part).mkdir(parents=True)
    (run_folder / "meta.yaml").write_text(
        "run_id: 0123456789abcdef0123456789abcdef\nexperiment_id: '1'\nstatus: 3\nstart_time: 1700000000000\n"
    )
    (run_folder / "metrics/loss").write_text("1700000000000 0.5 0\n")
    (run_folder / "artifacts/a.txt").write_text("a")
    (tmp_path / "mlruns/1/meta.yaml").write_text("experiment_id: '1'\nname: one\ncreation_time: 1700000000000\n")
    return tmp_path / "mlruns"


def test_in_from_mlflow_and_out_and_in_again(call, store, tmp_path):
    code, out, err = call("import", "mlflow", store, "--project", "flights", "--json")
    report = json.loads(out)
    assert (code, report["counts"]["runs"], report["problems"]) == (0, {"found": 1, "added": 1}, [])
    assert "'one'" in err
    assert call("export", "flights", tmp_path / "out")[0] == 0
    code, out, _ = call("import", "archive", tmp_path / "out")
    assert (code, "Everything came in." in out) == (0, True)
    code, out, _ = call("import", "archive", tmp_path / "out", "--project", "copy", "--json")
    assert json.loads(out)["counts"]["points"] == {"found": 1, "added": 1}
    assert call("export", "flights", tmp_path / "out")[0] != 0


def test_what_is_not_there_is_told_in_a_sentence(call, tmp_path):
    code, _, err = call("import", "mlflow", tmp_path / "nothing")
    assert (code != 0, "no file store of MLflow" in err) == (True, True)
    code, _, err = call("import", "archive", tmp_path, "--json")
    assert json.loads(err)["title"] == "Not found" or "archive" in err
    code, out, _ = call("import", "--help")
    assert all(word in out for word in ("mlflow", "wandb", "neptune", "archive"))
