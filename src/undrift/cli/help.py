"""Writes the help of the program into a file, so that `undrift --help` need not load what declares it.

``python -m undrift.cli.help --write`` writes the file anew; without ``--write`` it is printed. A test holds the file
equal to what the commands declare.
"""

from __future__ import annotations

import sys
from pathlib import Path

from undrift.cli.app import make_app

__all__ = ["FILE", "render"]

FILE = Path(__file__).with_name("help.txt")
_WIDTH = 100


def render() -> str:
    """Return the help as the commands declare it."""
    from rich.console import Console

    console = Console(width=_WIDTH, no_color=True, force_terminal=False)
    app = make_app()
    for name in app:
        app[name]  # loads the command, which says what it does
    with console.capture() as captured:
        app.help_print([], console=console)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines()) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        FILE.write_text(render(), encoding="utf-8")
    else:
        print(render(), end="")
