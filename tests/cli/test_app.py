"""The program as a whole: help, errors, exit codes, what goes where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import undrift
import undrift.cli.output
from undrift.cli import app
from undrift.cli import help as kept_help
from undrift.cli.app import make_app
from undrift.cli.output import clean


def _commands(parent, words=()):
    for name in parent:
        if not name.startswith("-"):
            yield (*words, name)
            yield from _commands(parent[name], (*words, name))


COMMANDS = sorted(_commands(make_app()))


def test_the_help_that_is_kept_is_what_the_commands_declare():
    assert kept_help.FILE.read_text() == kept_help.render(), "run: python -m undrift.cli.help --write"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_every_option_of_it_has_help(words, call):
    said = call(*words, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: undrift {' '.join(words)}")
    command = make_app()
    for word in words:
        command = command[word]
    assert command.help.strip().endswith((".", "?"))
    if command.default_command is not None:
        arguments = command.assemble_argument_collection(parse_docstring=True)
        assert [argument.name for argument in arguments if argument.show and not argument.parameter.help] == []


def test_the_commands_are_those_of_the_design():
    assert {words[0] for words in COMMANDS} == {
        "init", "up", "hub", "serve", "worker", "demo", "status", "runs", "data", "models", "incidents", "labels",
        "approve", "refuse", "audit", "doctor", "storage", "import", "export",
    }  # fmt: skip


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"], ["--version"]])
def test_help_and_version_load_no_library(args):
    code = "import sys; sys.argv[1:] = " + repr(args) + "\nimport undrift.__main__ as m\ntry:\n    m.main()\nexcept "
    code += (
        "SystemExit as end:\n    assert end.code == 0\nprint([n for n in ('cyclopts', 'rich', 'msgspec', 'pathlib') "
    )
    code += "if n in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = f"undrift {undrift.__version__}\n" if args == ["--version"] else kept_help.FILE.read_text()
    assert (said.stdout, said.stderr) == (expected + "[]\n", "")


def test_an_unknown_command_says_what_it_may_have_been(call):
    said = call("statsu")
    assert said.code == 2
    assert 'Did you mean "status"?' in said.err


def test_an_option_before_the_command_is_told_where_it_belongs(call):
    said = call("--json", "status")
    assert said.code == 2
    assert said.problem["detail"] == "Options come after the command."


def test_an_argument_that_is_missing_or_wrong_is_told_in_two_lines(call):
    said = call("incidents", "ack", "three")
    assert said.code == 2
    assert said.err.splitlines() == [
        'Invalid value for NUMBER: unable to convert "three" into int.',
        "See `undrift incidents ack --help`.",
    ]


def test_a_missing_workspace_is_told_with_the_way_to_make_one(call, tmp_path):
    said = call("status", "--workspace", tmp_path / "nowhere")
    assert said.code == 3
    assert said.err == (
        f"There is no workspace at {tmp_path / 'nowhere'}.\n"
        "Make one with `undrift init`, or name another with --workspace.\n"
    )


def test_with_json_an_error_is_a_problem_document_on_stderr(call, tmp_path):
    said = call("models", "--json", "--workspace", tmp_path / "nowhere")
    assert (said.code, said.out) == (3, "")
    assert said.problem["status"] == 404
    assert said.problem["next_step"].startswith("Make one")


@pytest.mark.parametrize("command", ["status", "worker", "serve", "hub", "up"])
def test_a_workspace_of_a_newer_undrift_is_left_alone(command, call, folder):
    settings = folder / "workspace.json"
    settings.write_text('{"format": 2, "made_by": "9.1", "what": "is new"}')
    said = call(command)
    assert said.code == 7
    assert "was made by a newer undrift (9.1)" in said.err
    assert settings.read_text() == '{"format": 2, "made_by": "9.1", "what": "is new"}'


def test_the_environment_names_the_workspace(call, folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("UNDRIFT_WORKSPACE", str(folder))
    assert call("runs", "--json").json == []


def test_a_workspace_and_a_hub_exclude_each_other(call, folder):
    said = call("runs", "--workspace", folder, "--hub", "http://127.0.0.1:1")
    assert (said.code, said.err.splitlines()[0]) == (2, "--workspace and --hub exclude each other.")


def test_a_hub_that_is_not_there_is_unavailable(call, unused_port):
    said = call("runs", "--hub", f"http://127.0.0.1:{unused_port}")
    assert said.code == 7
    assert f"The hub at http://127.0.0.1:{unused_port} did not answer" in said.err


def test_the_address_of_a_hub_is_checked_before_it_is_taken_for_a_folder(call):
    said = call("runs", "--hub", "localhost:7470")
    assert said.code == 2
    assert "'localhost:7470' is not the address of a hub." in said.err


def test_what_nobody_thought_of_is_a_sentence_and_a_way_to_see_more(call, folder, monkeypatch):
    monkeypatch.setattr("undrift.client.connect", lambda _target: 1 / 0)
    said = call("status")
    assert said.code == 1
    assert said.err.splitlines() == [
        "undrift failed in a way nobody thought of: ZeroDivisionError: division by zero",
        "Run it again with UNDRIFT_DEBUG=1 in the environment to see where.",
    ]
    monkeypatch.setenv("UNDRIFT_DEBUG", "1")
    assert "Traceback" in call("status").err


def test_a_file_that_cannot_be_read_is_no_surprise(call, folder, tmp_path):
    said = call("labels", tmp_path / "missing.csv", "--endpoint", "late")
    assert said.code == 7
    assert said.err.splitlines()[0] == f"{tmp_path / 'missing.csv'}: No such file or directory."


def test_ctrl_c_ends_with_130_and_says_nothing(call, folder, monkeypatch):
    def interrupt(_target):
        raise KeyboardInterrupt

    monkeypatch.setattr("undrift.client.connect", interrupt)
    assert call("status") == (130, "", "")


@pytest.mark.parametrize("args", [["--help"], ["audit", "--limit", "1000"]])
def test_a_reader_that_goes_away_is_no_error(args, fill, folder):
    reading, writing = os.pipe()
    os.close(reading)
    said = subprocess.run(
        [sys.executable, "-m", "undrift", *args], stdout=writing, stderr=subprocess.PIPE, cwd=folder.parent
    )
    os.close(writing)
    assert (said.returncode, said.stderr) == (141, b"")


def test_text_of_others_can_do_nothing_to_a_terminal():
    assert clean("\x1b]0;owned\x07 late\u202e") == "\ufffd]0;owned\ufffd late\ufffd"


def test_a_table_in_a_pipe_has_one_line_a_row_and_no_colour(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "")
    undrift.cli.output.show_table(["A", "B"], [("x" * 300, "[bold]y[/bold]"), (1, None)])
    assert capsys.readouterr().out == f"{'A':<300}  B\n{'x' * 300}  [bold]y[/bold]\n1\n"


def test_on_a_narrow_terminal_long_texts_wrap_and_ids_stay_in_one_piece(capsys, monkeypatch):
    # Such a terminal has 80 columns and no colours.
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    undrift.cli.output.show_table(["Run", "Why"], [("0" * 32, "a sentence that is " + "very " * 20 + "long")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("0" * 32 + "  a sentence")
    assert len(lines) == 4
    assert max(len(line) for line in lines) <= 80


def test_a_bad_port_is_told_by_its_limits(call):
    said = call("up", "--port", "70000")
    assert (said.code, said.err.splitlines()[0]) == (2, 'Invalid value "70000" for --port. Must be <= 65535.')


def test_no_command_is_slower_to_start_than_it_must_be():
    """Only the file of the command that runs is loaded."""
    code = "import sys\nfrom undrift.cli.app import run\nrun(['runs', '--help'])\n"
    code += "print([n for n in sys.modules if n.startswith('undrift.cli.')], file=sys.stderr)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "undrift.cli.runs" in said.stderr
    assert "undrift.cli.doctor" not in said.stderr
    assert Path(app.__file__).parent.joinpath("doctor.py").exists()
