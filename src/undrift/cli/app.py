"""The program: its commands by name, each loaded when it runs, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group, Parameter, UnknownCommandError

from undrift import __version__
from undrift.cli.formatter import TwoColumns
from undrift.cli.output import show_error, show_json
from undrift.core.errors import Invalid, Unavailable, UndriftError

__all__ = ["make_app", "run"]

_GROUPS: dict[str, tuple[str, ...]] = {
    "Begin": ("init:init", "demo:demo", "doctor:doctor"),
    "Run": ("up:up", "foreground:hub", "foreground:serve", "foreground:worker"),
    "Look": (
        "status:status",
        "incidents:incidents",
        "models:models",
        "data:data",
        "runs:runs",
        "storage:storage",
        "audit:audit",
    ),
    "Move": ("exchange:import_", "exchange:export"),
    "Tell": ("labels:labels", "cycles:approve", "cycles:refuse"),
}
"""By heading of the help: which file of this package has which command."""

_RUNS_ALONE = frozenset({"hub", "serve", "up", "worker"})
"""What ends when nobody looks on: its log has to say all there is to say."""

_PIPE_CLOSED = 141
_INTERRUPTED = 130


def make_app() -> App:
    """Make the program; a command's file is loaded when the command is asked for."""
    app = App(
        name="undrift",
        help="Keeps machine-learning models right in production. `undrift COMMAND --help` says more of a command.",
        help_formatter=TwoColumns(),
        help_format="plaintext",
        version=f"undrift {__version__}",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=()),
        group_commands=Group("Options", sort_key=9),
    )
    for place, (heading, commands) in enumerate(_GROUPS.items()):
        group = Group(heading, sort_key=place)
        for sort_key, command in enumerate(commands):
            # A function cannot be called `import`.
            name = command.partition(":")[2].rstrip("_")
            app.command(f"undrift.cli.{command}", name=name, group=group, sort_key=sort_key)
    return app


def run(args: Sequence[str]) -> int:
    """Run a command and return its exit code; every error has been told.

    Args:
        args: What follows ``undrift``.
    """
    try:
        code = make_app()(args, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on. The interpreter flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the last resort: whatever it is becomes a sentence
        return _tell(error, as_json="--json" in args, runs_alone=bool(_RUNS_ALONE.intersection(args[:1])))
    return code if isinstance(code, int) else 0


def _tell(error: Exception, *, as_json: bool, runs_alone: bool) -> int:
    said = _named(error)
    if os.environ.get("UNDRIFT_DEBUG") or (runs_alone and type(said) is UndriftError):
        traceback.print_exception(error)
    if as_json:
        show_json(said.to_problem(), sys.stderr)
    else:
        show_error(said.message, said.next_step)
    return said.exit_code


def _named(error: Exception) -> UndriftError:
    """Return the error of undrift's tree that says the same."""
    if isinstance(error, UndriftError):
        return error
    if isinstance(error, CycloptsError):
        command = " ".join(error.command_chain or ())
        if isinstance(error, UnknownCommandError) and str(error).startswith('Unknown command "-'):
            return Invalid("Options come after the command.", next_step="Such as `undrift status --json`.")
        return Invalid(str(error), next_step=f"See `undrift {command} --help`.".replace("  ", " "))
    if isinstance(error, OSError) and error.filename is not None:
        return Unavailable(
            f"{error.filename}: {error.strerror or error}.", next_step="Check the name, permissions and free space."
        )
    return UndriftError(
        f"undrift failed in a way nobody thought of: {type(error).__name__}: {error}",
        next_step="Run it again with UNDRIFT_DEBUG=1 in the environment to see where.",
    )
