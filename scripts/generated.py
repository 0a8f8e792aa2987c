"""What the scripts that write pages share: prose that fits a line, and a page that is written or checked."""
# ruff: noqa: INP001 - scripts, not a package

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

__all__ = ["ROOT", "as_markdown", "flow", "run"]

ROOT = Path(__file__).parents[1]
_WIDTH = 120
_CODE = re.compile(r"`[^`]+`")
_DOUBLE = re.compile(r"``([^`]+)``")


def as_markdown(docstring: str) -> str:
    """Turn a docstring into Markdown: code in one backtick, and paragraphs that fit the line again.

    >>> as_markdown("Asks ``GET /health``.")
    'Asks `GET /health`.'
    """
    paragraphs = _DOUBLE.sub(r"`\1`", docstring).split("\n\n")
    return "\n\n".join("\n".join(_item(item) for item in re.split(r"\n(?=\* )", one)) for one in paragraphs)


def _item(text: str) -> str:
    return flow(text, "  " if text.startswith("* ") else "")


def flow(text: str, hanging: str = "") -> str:
    """Break a paragraph into lines, but no code in it; lines after the first begin with ``hanging``."""
    joined = _CODE.sub(lambda code: code[0].replace(" ", "\0"), " ".join(text.split()))
    wrapped = textwrap.fill(joined, _WIDTH, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
    return wrapped.replace("\0", " ")


def run(page: Path, render: Callable[[], str], about: str, arguments: list[str] | None = None) -> int:
    """Write a page, or check it; returns the exit code.

    Args:
        page: Where it stands.
        render: Makes it.
        about: What the script does, in a line.
        arguments: Of the command line; those of this process when left out.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when the page is stale")
    check: bool = parser.parse_args(arguments).check
    wanted = render()
    if page.exists() and page.read_text(encoding="utf-8") == wanted:
        return 0
    if check:
        sys.stderr.write(f"{page.relative_to(ROOT)} is stale: run `make format`.\n")
        return 1
    page.write_text(wanted, encoding="utf-8")
    return 0
