"""Pages say what is so: links lead somewhere, words are the code's, and what is written by scripts is up to date."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import undrift
from undrift.core import errors

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "undrift"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GLOSSARY = ROOT / "docs" / "glossary.md"

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def prose(page):
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page):
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}


def words():
    return re.findall(r"^- \*\*(.+?)\*\*: ", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)


def doors():
    return sorted([*SOURCE.glob("*/__init__.py"), *SOURCE.glob("*.py")])


def docstring(file):
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    broken = []
    for target in _LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = page if not path else (page.parent / path).resolve()
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_fit_and_name_no_place_that_only_one_machine_has(page):
    text = page.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if len(line) > 120] == []
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|work)/\S+", text) == []
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_files_that_pages_name_exist():
    named = re.compile(r"(?<![\w/])(?:benchmarks|examples|scripts|docs)/[\w./-]+\.(?:py|md)")
    missing = {
        (page.name, path)
        for page in PAGES
        for path in named.findall(page.read_text(encoding="utf-8"))
        if "NNNN" not in path and not (ROOT / path).exists()
    }
    assert missing == set()


@pytest.mark.parametrize("script", ["generate_map", "generate_reference"])
def test_pages_written_by_scripts_are_up_to_date(script):
    found = subprocess.run(
        [sys.executable, ROOT / "scripts" / f"{script}.py", "--check"], capture_output=True, text=True
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_a_stale_page_is_told_and_stays_as_it_is(tmp_path, capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("generated", ROOT / "scripts" / "generated.py")
    generated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generated)
    monkeypatch.setattr(generated, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("old\n")
    assert generated.run(page, lambda: "new\n", "", ["--check"]) == 1
    assert page.read_text() == "old\n"
    assert "page.md is stale" in capsys.readouterr().err
    assert generated.run(page, lambda: "new\n", "", []) == 0
    assert generated.run(page, lambda: "new\n", "", ["--check"]) == 0
    assert page.read_text() == "new\n"


def test_the_map_has_every_room():
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    rooms = {door.parent.name if door.name == "__init__.py" else door.stem for door in doors()} - {"undrift"}
    assert rooms == {heading for heading in _HEADING.findall(text) if heading != "Map"}


def test_every_word_of_the_glossary_is_defined_once_and_used_in_the_code():
    found = words()
    assert len(found) > 80
    assert [word for word in found if found.count(word) > 1] == []
    text = " ".join(" ".join(file.read_text(encoding="utf-8").split()) for file in SOURCE.rglob("*.py"))
    unused = [
        word
        for word in found
        if not re.search(rf"(?<![a-z]){re.sub('[ -]', '[ -]', word)}(?![a-z]{{2}})", text, re.IGNORECASE)
    ]
    assert unused == []


@pytest.mark.parametrize("door", doors(), ids=lambda door: str(door.relative_to(SOURCE)))
def test_every_word_a_door_names_is_in_the_glossary(door):
    named = {" ".join(word.split()) for word in re.findall(r"(?<!\*)\*(\w[^*]*)\*", docstring(door))}
    known = set(words())
    assert {word for word in named if word not in known and word.removesuffix("s") not in known} == set()


def test_the_page_of_errors_says_what_the_tree_says():
    kinds = [getattr(errors, name) for name in errors.__all__ if name != "from_problem"]
    told = {
        (kind.code, kind.__name__, str(kind.status), str(kind.exit_code)): kind.__doc__.partition("\n")[0]
        for kind in kinds
    }
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (\d+) \| (\d+) \| (.+) \|$",
        (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert {tuple(row[:4]) for row in rows} == set(told)
    assert len(rows) == len(told)


def test_the_changelog_is_open_and_has_this_version():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert undrift.__version__ in headings


def test_decisions_are_numbered_and_each_has_its_parts():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{place:04d}" for place in range(1, len(pages) + 1)]
    for page in pages:
        headings = _HEADING.findall(page.read_text(encoding="utf-8"))
        assert headings[0].startswith(f"{page.name[:4]}: "), page.name
        assert headings[1:] == ["Context", "Choice", "Refused", "What would change our mind"], page.name
