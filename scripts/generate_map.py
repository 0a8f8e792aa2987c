"""Writes ``docs/map.md``: the rooms as they stand on each other, what each is for, and its files.

The order comes from the import contract in ``pyproject.toml``, the sentences from the docstrings: neither can say what
the code does not. ``--check`` changes nothing and exits with 1 when the page is not what it would write.
"""
# ruff: noqa: INP001 - a script, not part of the package

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

from generated import ROOT, as_markdown, flow, run

PAGE = ROOT / "docs" / "map.md"
SOURCE = ROOT / "src" / "undrift"

_CONTRACT = "Rooms stand on each other in lifecycle order"
_HEAD = """\
# Map

*This page is written by `scripts/generate_map.py` from the docstrings and the import contract. Edit those.*

Imports point down only. Rooms on one line do not know each other. Other rooms use only what a room's door
(`__init__.py`) offers. `import-linter` holds all of this; the contract is in [pyproject.toml](../pyproject.toml).
Inside a room the layers are files with the same names: `model.py` (nouns and pure rules), `operations.py` (what can be
done), `records.py` (SQL in and out), `tables.py`, and `ports.py` where there are back ends.
"""


def layers() -> tuple[list[list[str]], list[str]]:
    """Return the rooms, line by line from the top, and those that stand beside the order.

    Raises:
        SystemExit: The contract is gone.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract["name"] == _CONTRACT:
            lines = [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]
            return lines, list(contract["exhaustive_ignores"])
    raise SystemExit(f"pyproject.toml has no import contract {_CONTRACT!r}.")


def docstring(file: Path) -> str:
    """Return the docstring of a file.

    Raises:
        SystemExit: It has none.
    """
    found = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not found:
        raise SystemExit(f"{file.relative_to(ROOT)} does not say what it is for.")
    return found


def door(room: str) -> Path:
    """Return the file that says what a room is for."""
    folder = SOURCE / room
    return folder / "__init__.py" if folder.is_dir() else SOURCE / f"{room}.py"


def sentence(file: Path) -> str:
    """Return what a file is for: the first sentence of its docstring."""
    first = docstring(file).partition("\n\n")[0].replace("\n", " ")
    return as_markdown(re.split(r"(?<=[.?])\s", first)[0])


def overview(room: str) -> str:
    """Return one line on a room; the name is not said twice."""
    said = sentence(door(room))
    name, _, rest = said.partition(": ")
    return flow(f"- [{room}](#{room}): {rest if name.lower().removeprefix('the ') == room else said}", "  ")


def picture(lines: list[list[str]]) -> str:
    """Draw the rooms as they stand on each other."""
    return "\n".join(["```text", *(f"  {' | '.join(line)}" for line in lines), "```"])


def section(room: str) -> str:
    """Describe one room: what it is for, its words, and its files."""
    parts = [f"## {room}\n\n[{door(room).relative_to(ROOT)}](../{door(room).relative_to(ROOT)})"]
    parts.append(as_markdown(docstring(door(room))))
    folder = SOURCE / room
    files = [file for file in sorted(folder.rglob("*.py")) if file != folder / "__init__.py"] if folder.is_dir() else []
    if files:
        parts.append("\n".join(flow(f"- `{file.relative_to(folder)}`: {sentence(file)}", "  ") for file in files))
    return "\n\n".join(parts)


def render() -> str:
    """Write the page."""
    lines, beside = layers()
    rooms = [room for line in lines for room in line]
    said = "\n".join(overview(room) for room in rooms)
    extra = flow(f"Beside them stand {' and '.join(f'`{room}`' for room in beside)}.")
    sections = [section(room) for room in [*rooms, *beside]]
    return "\n\n".join([_HEAD.rstrip(), picture(lines), extra, said, *sections]) + "\n"


if __name__ == "__main__":
    sys.exit(run(PAGE, render, (__doc__ or "").partition("\n")[0]))
