"""Reading what others wrote: nothing outside the folder is opened, whatever links, addresses and texts say."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from undrift.core.errors import Invalid, NotFound
from undrift.exchange.model import Report, SourceFile

__all__ = ["Folder", "local_path", "read_yaml"]

_PIECE = 1 << 20
_TEXT = 1 << 20
_YAML = 64 << 20


class Folder:
    """A folder that reading never leaves.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def inside(self, path: Path) -> bool:
        """Return whether a path lies in the folder once all links are followed."""
        try:
            return path.resolve().is_relative_to(self.path)
        except (OSError, RuntimeError, ValueError):  # a circle of links, or a name that cannot be one
            return False

    def lines(self, path: Path) -> Iterator[str]:
        """Give the lines of a file, however long it is; what is no UTF-8 is replaced.

        Raises:
            Invalid: The file lies outside, or is none.
        """
        with os.fdopen(self._open(path), encoding="utf-8", errors="replace", newline="\n") as file:
            while line := file.readline(_TEXT):
                yield line.rstrip("\n")

    def text(self, path: Path, most: int = _TEXT) -> str:
        """Return the text of a small file.

        Raises:
            Invalid: The file lies outside, is none, or is longer than it may be.
        """
        with os.fdopen(self._open(path), "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise Invalid(f"{path.name!r} has more than {most} bytes.", next_step="Look at what is in it.")
        return data.decode(errors="replace")

    def pieces(self, path: Path) -> Iterator[bytes]:
        """Give the bytes of a file in pieces.

        Raises:
            Invalid: The file lies outside, or is none.
        """
        with os.fdopen(self._open(path), "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield piece

    def _open(self, path: Path) -> int:
        if not self.inside(path):
            raise Invalid(f"{path.name!r} leads out of {self.path}.", next_step="Copy the file into the folder.")
        # Without waiting, so that a pipe in place of a file cannot hold us up.
        descriptor = os.open(path.resolve(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Invalid(f"{path.name!r} is no file.")
        return descriptor

    def folders(self, path: Path) -> list[Path]:
        """Return the folders in a folder, by name; links are left out."""
        if not self.inside(path) or not path.is_dir():
            return []
        with os.scandir(path) as found:
            return sorted(Path(one.path) for one in found if one.is_dir(follow_symlinks=False))

    def below(
        self, path: Path, report: Report | None = None, name: str = ""
    ) -> Iterator[tuple[str, Path, os.stat_result]]:
        """Give the files in a folder and below with their paths in it, in order; links that lead out are refused.

        Args:
            path: The folder.
            report: Takes the links that lead out.
            name: What the report calls the folder.
        """
        if not self.inside(path) or not path.is_dir():
            return
        waiting = [("", path)]
        while waiting:
            prefix, folder = waiting.pop()
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda one: one.name)
            below = []
            for one in entries:
                inner = prefix + one.name
                if one.is_dir(follow_symlinks=False):
                    below.append((f"{inner}/", Path(one.path)))
                elif one.is_file(follow_symlinks=False) or (
                    one.is_symlink() and one.is_file() and self.inside(Path(one.path))
                ):
                    yield inner, Path(one.path), one.stat()
                elif report is not None:
                    report.refuse("file", f"{name}/{inner}", "It is a link or a device, and not followed.")
            waiting.extend(reversed(below))

    def files(self, path: Path, report: Report, name: str) -> Iterator[SourceFile]:
        """Give the files in a folder and below, or the one file at a path, to be read."""
        if path.is_file() and self.inside(path):
            found = path.stat()
            yield SourceFile(path.name, found.st_size, found.st_mtime_ns // 1_000_000, partial(self.pieces, path))
            return
        for inner, file, found in self.below(path, report, name):
            yield SourceFile(
                inner,
                found.st_size,
                found.st_mtime_ns // 1_000_000,
                partial(self.pieces, file),
            )


def local_path(uri: str) -> Path | None:
    """Return the path of a local address; None for one of another kind.

    >>> local_path("file:///tmp/a%20b"), local_path("s3://bucket/a")
    (PosixPath('/tmp/a b'), None)
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Path(unquote(parts.path))
    if parts.scheme and len(parts.scheme) > 1:
        return None
    return Path(uri) if uri and "\0" not in uri else None


def read_yaml(folder: Folder, path: Path, most: int = _YAML) -> dict[str, Any]:
    """Return the fields of a YAML file that holds plain values only: no tags, no aliases.

    Raises:
        NotFound: There is no such file.
        Invalid: It is not YAML, holds more than plain values, or is no mapping.
        Unavailable: No YAML library is installed.
    """
    import yaml  # noqa: PLC0415 - only for file stores

    try:
        text = folder.text(path, most)
    except FileNotFoundError:
        raise NotFound(f"There is no {path.name!r} in {path.parent.name!r}.") from None
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=loader)):
            # A text of a kilobyte could stand for a gigabyte.
            raise Invalid(f"{path.parent.name}/{path.name} has aliases, which no store of MLflow has.")
        found = yaml.load(text, Loader=loader)  # noqa: S506 - one of the two safe loaders
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise Invalid(f"{path.parent.name}/{path.name} cannot be read: {said}.") from None
    if not isinstance(found, dict):
        raise Invalid(f"{path.parent.name}/{path.name} holds no fields.")
    return {str(name): value for name, value in found.items()}
