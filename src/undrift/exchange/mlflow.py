"""Ways into what MLflow has recorded: a file store, a database on SQLite, a server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from undrift.core.errors import Invalid
from undrift.exchange.folders import local_path
from undrift.exchange.mlflow_files import FileStore
from undrift.exchange.mlflow_http import Server
from undrift.exchange.mlflow_sqlite import Sqlite
from undrift.exchange.model import Report, Source

__all__ = ["open_mlflow"]


def open_mlflow(uri: str, report: Report, artifacts: Path | None = None) -> Source:
    """Open what MLflow has recorded, as its tracking URI names it.

    Args:
        uri: A folder (``./mlruns``), a database (``sqlite:///mlflow.db``, or the file), or a server's address.
        report: Takes what cannot be read.
        artifacts: The folder that holds the artifacts, where the store does not say.

    Raises:
        NotFound: There is nothing at that place.
        Invalid: It is nothing of MLflow, or of a release that is not known.
        Unavailable: It does not answer.
    """
    scheme = urlsplit(uri).scheme
    if scheme in {"http", "https"}:
        return Server(uri, report)
    if scheme.startswith("sqlite"):
        # Three slashes are relative, four absolute.
        path = unquote(uri.partition("://")[2])
        return Sqlite(Path(path.removeprefix("/")), report, artifacts)
    if scheme in {"postgresql", "postgres", "mysql", "mssql"} or "+" in scheme:
        raise Invalid(
            "undrift reads MLflow's databases on SQLite only.",
            next_step="Start `mlflow server` on the database, and import from its address.",
        )
    place = local_path(uri)
    if place is None:
        raise Invalid(f"{uri[:200]!r} is no place of MLflow.", next_step="Give a folder, a database or a server.")
    if place.is_file():
        return Sqlite(place, report, artifacts)
    return FileStore(place, report, artifacts)
