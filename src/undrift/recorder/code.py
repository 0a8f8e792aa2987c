"""The code of a run: its commit, what is not committed, and a snapshot of the source files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from undrift.recorder.masking import is_secret_file, mask_text, without_credentials

__all__ = ["Code", "Limits", "capture_code", "entry_script"]

_SKIPPED_FOLDERS = frozenset(
    {"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist", "mlruns", "wandb"}
)


class Limits(msgspec.Struct, frozen=True):
    """How much code is kept.

    Attributes:
        files: So many files.
        file_bytes: A file of so many bytes.
        total_bytes: All files together.
        diff_bytes: The changes that are not committed.
        seconds: So long a question to git may take.
    """

    files: int = 5_000
    file_bytes: int = 1 << 20
    total_bytes: int = 64 << 20
    diff_bytes: int = 8 << 20
    seconds: float = 10.0


_LIMITS = Limits()


class Code(msgspec.Struct):
    """What was captured.

    Attributes:
        tags: Words about it for the run: commit, branch, remote, whether it is changed.
        files: How many files were copied.
        left_out: Files that were not, each with the reason; the first thousand.
        left_out_count: How many those were.
        diff: The changes that are not committed, as a unified diff; None when there are none, or no git.
        problems: What could not be found out, in sentences.
    """

    tags: dict[str, str] = {}
    files: int = 0
    left_out: list[dict[str, str]] = []
    left_out_count: int = 0
    diff: bytes | None = None
    problems: list[str] = []

    def leave_out(self, path: str, reason: str) -> None:
        """Note a file that was not copied."""
        self.left_out_count += 1
        if self.left_out_count <= 1000:
            self.left_out.append({"path": path, "reason": reason})


def entry_script() -> Path | None:
    """Return the file this process was started with, when it is the user's: not one of an installed program."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not file:
        return None
    try:
        path = Path(file).resolve()
        if not path.is_file() or "site-packages" in path.parts or path.parent == Path(sys.executable).parent:
            return None
    except OSError:
        return None
    return None if path.is_relative_to(Path(sys.prefix).resolve() / "bin") else path


def capture_code(
    target: Path, *, start: Path | None = None, entry: Path | None = None, limits: Limits = _LIMITS
) -> Code:
    """Copy the source files of the project into a folder, and describe where they come from.

    With git: the files it tracks and those it neither tracks nor ignores. Without: the entry script and the Python
    files beside and below it. Files that look like secrets are left out and named.

    Args:
        target: An empty folder to copy to.
        start: Where to begin to look for the project; the entry script's folder, else the working folder.
        entry: The entry script.
        limits: How much is kept.
    """
    code = Code()
    start = start or (entry.parent if entry else Path.cwd())
    if shutil.which("git") is None:
        code.problems.append("git is not installed")
        root = None
    else:
        root = _git_root(start, limits)
        if root is None and (named := next((one for one in (start, *start.parents) if (one / ".git").exists()), None)):
            # Such as one of another user, which git does not trust.
            code.problems.append(f"git cannot read the repository {named}: commit and changes are not known")
    if root is None:
        _copy(code, start, _python_files(start, code, limits), target, limits, entry)
        return code
    git = _Git(root, limits, code)
    _describe(code, git)
    listed = git.paths("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        listed = git.paths("ls-files", "-z", "--cached") or []
        code.problems.append("files that git does not track were not listed: it took too long")
    near = "" if entry is None or not entry.is_relative_to(root) else entry.parent.relative_to(root).as_posix()
    # When not all find room: those beside the script come first.
    ordered = sorted(
        dict.fromkeys(listed), key=lambda path: (near not in {"", "."} and not path.startswith(f"{near}/"), path)
    )
    _copy(code, root, iter(ordered), target, limits, entry)
    return code


class _Git:
    """Asks git, for a bounded time, and lets it start nothing that the repository's settings name."""

    def __init__(self, root: Path, limits: Limits, code: Code) -> None:
        self._root = root
        self._limits = limits
        self._code = code

    def ask(self, *words: str, limit_bytes: int = 16 << 20) -> bytes | None:
        """Return what git prints; None when it fails, takes too long or prints more."""
        return _git(self._root, words, self._limits.seconds, limit_bytes)

    def line(self, *words: str) -> str:
        """Return the line that git prints; nothing when it fails."""
        return (self.ask(*words) or b"").decode(errors="replace").strip()

    def paths(self, *words: str) -> list[str] | None:
        """Return the paths that git prints."""
        printed = self.ask(*words, limit_bytes=64 << 20)
        return None if printed is None else [os.fsdecode(path) for path in printed.split(b"\0") if path]


def _git(folder: Path, words: tuple[str, ...], seconds: float, limit_bytes: int) -> bytes | None:
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "--no-optional-locks", *words]
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_PAGER": "cat"}
    try:
        with subprocess.Popen(  # noqa: S603 - git, with words of ours
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                printed = _bounded(process.stdout, limit_bytes, time.monotonic() + seconds)
                if printed is None or process.wait(seconds) != 0:
                    return None
            except subprocess.TimeoutExpired:
                return None
            else:
                return printed
            finally:
                if process.poll() is None:
                    process.kill()
    except OSError:
        return None


def _bounded(stream: IO[bytes] | None, limit_bytes: int, until: float) -> bytes | None:
    import select  # noqa: PLC0415 - for this alone

    assert stream is not None  # noqa: S101 - it was asked for
    pieces: list[bytes] = []
    size = 0
    while True:
        if not select.select([stream], [], [], max(0.0, until - time.monotonic()))[0]:
            return None
        piece = os.read(stream.fileno(), 1 << 16)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > limit_bytes:
            return None


def _git_root(start: Path, limits: Limits) -> Path | None:
    printed = _git(start, ("rev-parse", "--show-toplevel"), limits.seconds, 1 << 16)
    text = os.fsdecode(printed or b"").rstrip("\n")
    return Path(text) if text else None


def _describe(code: Code, git: _Git) -> None:
    commit = git.line("rev-parse", "--verify", "--quiet", "HEAD")
    tags = {
        "undrift.git_commit": commit,
        "undrift.git_branch": git.line("symbolic-ref", "--short", "--quiet", "HEAD"),
    }
    remote = git.line("config", "--get", "remote.origin.url")
    if remote:
        tags["undrift.git_remote"] = without_credentials(remote)
    changed = git.ask("status", "--porcelain", "-z", "--untracked-files=normal")
    if changed is None:
        code.problems.append("git could not say in time what is not committed")
    else:
        tags["undrift.git_dirty"] = "true" if changed else "false"
    code.tags = {name: value for name, value in tags.items() if value}
    if not commit:
        code.problems.append("the repository has no commit yet")
    elif changed:
        _diff(code, git)


def _diff(code: Code, git: _Git) -> None:
    names = git.paths("diff", "--name-only", "-z", "--no-ext-diff", "--relative", "HEAD")
    shown = [name for name in names or [] if not is_secret_file(name)]
    for name in names or []:
        if name not in shown:
            code.leave_out(name, "looks like a secret (left out of uncommitted.diff, too)")
    if not shown:
        return
    limit = git._limits.diff_bytes  # noqa: SLF001 - of this file
    words = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "HEAD", "--")
    # A command line has a limit of its own.
    code.diff = git.ask(*words, *(f":(literal){name}" for name in shown[:2000]), limit_bytes=limit)
    if code.diff is None:
        code.problems.append(f"the uncommitted changes have over {limit >> 20} MiB, or took too long: there is no diff")
    elif len(shown) > 2000:
        code.problems.append(f"the diff has the first 2,000 of {len(shown)} changed files")
    if code.diff:
        masked = mask_text(code.diff.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        if masked != code.diff:
            code.problems.append("words that look like secrets are masked in the diff")
            code.diff = masked


def _python_files(start: Path, code: Code, limits: Limits) -> Iterator[str]:
    if start in {Path.home(), Path(start.anchor)}:
        code.problems.append(f"without git, no files are taken from {start}")
        return
    until = time.monotonic() + limits.seconds
    for folders, (above, below, names) in enumerate(os.walk(start)):
        below[:] = sorted(
            name
            for name in below
            if name not in _SKIPPED_FOLDERS
            and not name.startswith(".")
            and not os.path.exists(os.path.join(above, name, "pyvenv.cfg"))  # noqa: PTH110, PTH118 - quick
        )
        for name in sorted(names):
            if name.endswith((".py", ".ipynb", ".toml", ".cfg", ".yaml", ".yml")) or name.startswith("requirements"):
                yield os.path.relpath(os.path.join(above, name), start)  # noqa: PTH118 - quick
        if folders > 5_000 or time.monotonic() > until:
            code.problems.append("there are too many folders: not all Python files were looked at")
            return


def _copy(code: Code, base: Path, paths: Iterator[str], target: Path, limits: Limits, entry: Path | None) -> None:
    total = 0
    if entry is not None and entry.is_relative_to(base):
        paths = _first(entry.relative_to(base).as_posix(), paths)
    for path in paths:
        source = base / path
        try:
            if source.is_symlink() or not source.is_file():
                if source.is_symlink():
                    code.leave_out(path, "is a link")
                elif source.is_dir():
                    code.leave_out(path, "is a repository of its own")
                continue
            size = source.stat().st_size
            if is_secret_file(path):
                code.leave_out(path, "looks like a secret")
            elif size > limits.file_bytes:
                code.leave_out(path, f"has {size:,} bytes")
            elif code.files >= limits.files or total + size > limits.total_bytes:
                code.leave_out(path, "there are too many files")
            elif not _is_nameable(path):
                code.leave_out(repr(path), "has a name that cannot be kept")
            else:
                copy = target / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
                code.files += 1
                total += size
        except OSError as error:
            code.leave_out(path, error.strerror or "cannot be read")


def _first(path: str, others: Iterator[str]) -> Iterator[str]:
    yield path
    for other in others:
        if other != path:
            yield other


def _is_nameable(path: str) -> bool:
    with suppress(UnicodeEncodeError):
        return bool(path.encode()) and path.isprintable() and "\\" not in path
    return False
