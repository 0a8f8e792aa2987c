"""How help looks: two columns of plain text, the same on a terminal and in a file."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

__all__ = ["TwoColumns"]

_WIDTH = 100
_LEFT = 28
_NO_DEFAULT = (None, "", "False", '""', "()")


class TwoColumns:
    """Formats the help of a command; see `cyclopts.help.protocols.HelpFormatter`."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:  # noqa: ARG002 - protocol
        """Print a heading and its entries."""
        if not panel.entries:
            return
        # Commands below a command have the heading of the library for theirs.
        title = "Options" if panel.title == "Parameters" else panel.title
        _print(console, f"{title}:")
        left = min(_LEFT, max(len(_names(entry)) for entry in panel.entries))
        for entry in panel.entries:
            names = _names(entry)
            width = min(console.width, _WIDTH) - left - 4
            lines = textwrap.wrap(_description(entry), width, break_on_hyphens=False) or [""]
            if len(names) > left:
                _print(console, f"  {names}")
                names = ""
            for line in lines:
                _print(console, f"  {names:<{left}}  {line}".rstrip())
                names = ""
        _print(console, "")

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:  # noqa: ARG002 - protocol
        """Print how the command is written."""
        if usage:
            _print(console, f"Usage: {_plain(usage)}\n")

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:  # noqa: ARG002
        """Print what the command does."""
        if description:
            for paragraph in _plain(description).split("\n\n"):
                _print(console, textwrap.fill(" ".join(paragraph.split()), min(console.width, _WIDTH)) + "\n")


def _names(entry: HelpEntry) -> str:
    return ", ".join(entry.display_labels_with_metavar)


def _description(entry: HelpEntry) -> str:
    text = _plain(entry.description)
    choices = f" One of {', '.join(entry.choices)}." if entry.choices else ""
    default = "" if entry.default in _NO_DEFAULT else f" Default: {entry.default}."
    return f"{text}{choices}{default}{' Required.' if entry.required else ''}".strip()


def _plain(value: Any) -> str:
    if hasattr(value, "plain"):
        return str(value.plain).strip()
    if hasattr(value, "__rich_console__") or hasattr(value, "__rich__"):
        from rich.console import Console as RichConsole

        flat = RichConsole(width=10_000, no_color=True, force_terminal=False, markup=False, highlight=False)
        with flat.capture() as captured:
            flat.print(value, end="")
        return captured.get().strip()
    return str(value or "").strip()


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
