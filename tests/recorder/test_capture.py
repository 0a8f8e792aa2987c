"""The code, the environment and the machine of a run are kept with it, and secrets are not."""

from __future__ import annotations

import json
import subprocess

import pytest

from undrift.core.hashing import hash_bytes
from undrift.recorder import hardware
from undrift.recorder.code import Limits, capture_code
from undrift.recorder.environment import lock_environment

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")


def git(folder, *words):
    subprocess.run([*GIT, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path):
    """A repository with a commit, and some files."""
    folder = tmp_path / "project"
    (folder / "pkg").mkdir(parents=True)
    (folder / "train.py").write_text("print(1)\n")
    (folder / "pkg" / "model.py").write_text("depth = 1\n")
    (folder / "deploy.env").write_text("KEY=old\n")
    (folder / ".gitignore").write_text("ignored.py\n")
    (folder / "ignored.py").write_text("")
    git(folder, "init")
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "first")
    git(folder, "remote", "add", "origin", "https://ada:token@example.org/team/flights.git")
    return folder


def kept(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_clean_repository_is_named_by_its_commit(project, tmp_path):
    code = capture_code(tmp_path / "copy", start=project)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True).stdout.strip()
    assert code.tags == {
        "undrift.git_commit": head,
        "undrift.git_branch": "main",
        "undrift.git_remote": "https://example.org/team/flights.git",
        "undrift.git_dirty": "false",
    }
    assert code.diff is None
    assert kept(tmp_path / "copy") == {"train.py", "pkg/model.py", ".gitignore"}
    assert [one["path"] for one in code.left_out] == ["deploy.env"]
    assert code.problems == []


def test_what_is_not_committed_is_kept_and_can_be_made_again(project, tmp_path):
    (project / "pkg" / "model.py").write_text("depth = 2\n")
    (project / "new file.py").write_text("new\n")
    (project / "deploy.env").write_text("KEY=hunter2\n")
    (project / "train.py").write_text('token = "ghp_0123456789012345678901234567890123"\n')
    code = capture_code(tmp_path / "copy", start=project / "pkg")
    assert code.tags["undrift.git_dirty"] == "true"
    assert kept(tmp_path / "copy") == {"train.py", "pkg/model.py", ".gitignore", "new file.py"}
    assert (tmp_path / "copy" / "pkg" / "model.py").read_text() == "depth = 2\n"
    assert b"hunter2" not in code.diff
    assert b"ghp_" not in code.diff
    assert b"+depth = 2" in code.diff

    git(project, "checkout", "--", "pkg", "deploy.env", "train.py")
    subprocess.run(["git", "apply"], cwd=project, input=code.diff, check=True)
    assert (project / "pkg" / "model.py").read_text() == "depth = 2\n"


def test_secrets_links_and_big_files_are_left_out_and_named(project, tmp_path):
    for name in (".env", "id_rsa", "tls.pem", "credentials.json", ".ssh/config"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("secret")
    (project / "link").symlink_to("/etc/passwd")
    (project / "big.csv").write_bytes(b"x" * 3_000)
    code = capture_code(tmp_path / "copy", start=project, limits=Limits(file_bytes=2_000))
    assert kept(tmp_path / "copy") == {"train.py", "pkg/model.py", ".gitignore"}
    assert {one["path"] for one in code.left_out} == {
        "deploy.env", ".env", "id_rsa", "tls.pem", "credentials.json", ".ssh/config", "link", "big.csv",
    }  # fmt: skip


def test_when_not_all_find_room_those_beside_the_script_come_first(project, tmp_path):
    (project / "aaa").mkdir()
    for number in range(20):
        (project / "aaa" / f"{number}.py").write_text("")
    code = capture_code(
        tmp_path / "copy", start=project / "pkg", entry=project / "pkg" / "model.py", limits=Limits(files=3)
    )
    assert "pkg/model.py" in kept(tmp_path / "copy")
    assert code.files == 3
    assert code.left_out_count == 21


def test_a_repository_without_a_commit_and_a_folder_without_a_repository_are_kept(tmp_path):
    bare = tmp_path / "bare"
    (bare / ".venv" / "lib").mkdir(parents=True)
    (bare / "env2").mkdir()
    (bare / "env2" / "pyvenv.cfg").write_text("")
    for name in ("train.py", "data.csv", ".venv/lib/x.py", "env2/y.py", "notes.ipynb"):
        (bare / name).write_text("")
    code = capture_code(tmp_path / "one", start=bare, entry=bare / "train.py")
    assert kept(tmp_path / "one") == {"train.py", "notes.ipynb"}
    assert code.tags == {}

    git(bare, "init")
    code = capture_code(tmp_path / "two", start=bare)
    assert {"train.py", "data.csv"} <= kept(tmp_path / "two")
    assert code.problems == ["the repository has no commit yet"]


def test_git_that_hangs_or_is_not_there_holds_nothing_up(project, tmp_path, monkeypatch):
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=":")
    code = capture_code(tmp_path / "one", start=project, limits=Limits(seconds=0.2))
    assert "train.py" in kept(tmp_path / "one")
    monkeypatch.setenv("PATH", str(tmp_path))
    code = capture_code(tmp_path / "two", start=project)
    assert "git is not installed" in code.problems
    assert "train.py" in kept(tmp_path / "two")


def test_a_repository_that_git_cannot_read_and_one_in_another_are_named(project, tmp_path):
    subprocess.run(["git", "init", "-q", project / "inner"], check=True)
    (project / "inner" / "own.py").write_text("")
    code = capture_code(tmp_path / "copy", start=project)
    assert {"path": "inner/", "reason": "is a repository of its own"} in code.left_out
    (project / ".git" / "HEAD").write_text("broken")
    code = capture_code(tmp_path / "other", start=project)
    assert any("git cannot read the repository" in problem for problem in code.problems)


def test_settings_of_a_repository_start_nothing(project, tmp_path):
    witness = tmp_path / "witness"
    for setting in ("core.fsmonitor", "diff.external", "core.pager", "diff.x.textconv"):
        git(project, "config", setting, f"touch {witness}; true")
    (project / ".gitattributes").write_text("*.py diff=x\n")
    (project / "train.py").write_text("print(2)\n")
    assert b"+print(2)" in capture_code(tmp_path / "copy", start=project).diff
    assert not witness.exists()


def test_the_lock_of_an_environment_is_the_same_every_time_and_says_what_is_installed():
    lock = lock_environment()
    assert lock == lock_environment()
    said = json.loads(lock)
    names = [one["name"] for one in said["distributions"]]
    assert names == sorted(set(names))
    found = {one["name"]: one for one in said["distributions"]}
    assert len(found["msgspec"]["record"]) == 64
    assert found["undrift"]["origin"]["editable"]
    assert "/" not in found["undrift"]["origin"]["url"]
    assert said["interpreter"]["version"]
    assert said["interpreter"]["abi"]


def test_a_run_has_its_code_environment_and_machine(train, workspace, find, points, project):
    (project / "pkg" / "model.py").write_text("depth = 2\n")
    process = train(
        "import os, sys\nimport undrift as ud\nos.chdir(sys.argv[2])\n"
        "with ud.run('flights', target=sys.argv[1]) as run:\n    print(run.id, flush=True)\n    run.log(loss=1)\n",
        workspace,
        project,
        "--api-key=hunter2",
        UNDRIFT_PRICE_CPU_HOUR="3600",
        UNDRIFT_PRICE_CURRENCY="EUR",
        UNDRIFT_EXIT_WAIT="40",
        PYTHONHASHSEED="5",
    )
    run_id = process.stdout.readline().strip()
    _, err = process.communicate(timeout=60)
    run = find(run_id)
    assert "undrift.not_captured" not in run.tags, err
    assert "hunter2" not in run.tags["undrift.command"]
    assert "--api-key=***" in run.tags["undrift.command"]
    assert run.tags["undrift.python_hash_seed"] == "5"
    assert int(run.tags["undrift.cores"]) >= 1
    links = {link.kind: link for link in run.links}
    assert links["code"].role == links["environment"].role == "input"
    assert links["environment"].ref == hash_bytes(lock_environment())
    assert len(links["code"].ref) == 64

    assert run.metrics["system/memory_bytes"] > 0
    assert run.metrics["system/process_memory_bytes"] > 1 << 20
    assert run.metrics["cost/wall_seconds"] > 0
    assert run.metrics["cost/money"] == pytest.approx(run.metrics["cost/cpu_seconds"])
    assert run.tags["undrift.cost_currency"] == "EUR"


def test_money_is_counted_only_where_prices_are_set(monkeypatch):
    used = {"cost/wall_seconds": 7_200.0, "cost/cpu_seconds": 3_600.0, "cost/gpu_seconds": 1_800.0}
    for name in ("CPU_HOUR", "GPU_HOUR", "HOUR", "CURRENCY"):
        monkeypatch.delenv(f"UNDRIFT_PRICE_{name}", raising=False)
    assert hardware.price(used) == ({}, "", [])
    monkeypatch.setenv("UNDRIFT_PRICE_CPU_HOUR", "0.05")
    monkeypatch.setenv("UNDRIFT_PRICE_GPU_HOUR", "4")
    monkeypatch.setenv("UNDRIFT_PRICE_HOUR", "cheap")
    money, _, problems = hardware.price(used)
    assert money["cost/money"] == pytest.approx(0.05 + 2.0)
    assert problems == ["UNDRIFT_PRICE_HOUR is 'cheap', which is no price"]


def test_the_processor_time_of_children_counts(tmp_path):
    meter = hardware.Meter(hardware.Gpus(), tmp_path)
    subprocess.run(["python3", "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    assert meter.cost()["cost/cpu_seconds"] >= 0.5
    assert meter.sample()["system/cpu_percent"] >= 0
