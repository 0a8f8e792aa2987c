"""Every function that a trace or a decision names is there, in the file it names."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "undrift"
TRACES = sorted((ROOT / "docs" / "traces").glob("*.md"))
PAGES = [*TRACES, ROOT / "CONTRIBUTING.md", ROOT / "docs" / "reference.md"]

_PLACE = re.compile(r"`([\w/]+\.py):([\w.]+)`")
_MODULE = re.compile(r"`undrift((?:\.[a-z_]+)+)`")


def names(file):
    """Return the functions and classes of a file, those in classes as ``Class.method``."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_function_named_is_there(page):
    places = _PLACE.findall(page.read_text(encoding="utf-8"))
    assert places
    missing = [
        f"{path}:{name}" for path, name in places if not (SOURCE / path).is_file() or name not in names(SOURCE / path)
    ]
    assert missing == []


@pytest.mark.parametrize("page", TRACES, ids=lambda page: page.name)
def test_a_trace_has_numbered_hops_and_a_picture(page):
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^\d+\. ", text, re.MULTILINE)) >= 8
    assert text.count("```mermaid\nsequenceDiagram\n") == 1
    picture = text.partition("```mermaid\n")[2].partition("```")[0]
    known = set(re.findall(r"participant (\w+) as ", picture))
    spoken = {name for pair in re.findall(r"^\s*(\w+)-+>>(\w+):", picture, re.MULTILINE) for name in pair}
    assert spoken == known


def test_there_are_three_traces():
    assert [page.stem for page in TRACES] == ["incident-to-promotion", "label-to-incident", "predict"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.name)
def test_modules_that_decisions_name_are_there(page):
    missing = []
    for dotted in _MODULE.findall(page.read_text(encoding="utf-8")):
        place = SOURCE.joinpath(*dotted.strip(".").split("."))
        if place.is_dir() or place.with_suffix(".py").is_file():
            continue
        door = importlib.import_module(f"undrift{dotted.rpartition('.')[0]}")
        if not hasattr(door, dotted.rpartition(".")[2]):
            missing.append(dotted)
    assert missing == []
