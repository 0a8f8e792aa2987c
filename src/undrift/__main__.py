"""The program ``undrift``; its help and its version are answered before anything heavy is loaded."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

_HELP = ((), ("--help",), ("-h",))


def main() -> None:
    """Run the program with the arguments it was started with, and end the process with its exit code."""
    args = sys.argv[1:]
    if "UNDRIFT_PARENT" in os.environ:
        from undrift.processes import end_with_parent  # noqa: PLC0415 - only children of `undrift up` need it

        end_with_parent()
    if tuple(args) in _HELP or args == ["--version"]:
        sys.exit(_answer(_version() if args == ["--version"] else _help()))
    from undrift.cli.app import run  # noqa: PLC0415 - costs 150 ms that help need not pay

    sys.exit(run(args))


def _help() -> str:
    # A test holds the file equal to what the commands declare.
    with open(os.path.join(os.path.dirname(__file__), "cli", "help.txt"), encoding="utf-8") as file:  # noqa: PTH118, PTH120, PTH123 - pathlib costs a quarter of the start
        return file.read()


def _version() -> str:
    from undrift import __version__  # noqa: PLC0415 - help does not say it

    return f"undrift {__version__}\n"


def _answer(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


if __name__ == "__main__":
    main()
