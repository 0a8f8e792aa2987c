"""MLflow's database on SQLite, read through SQL without MLflow, and never written."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from undrift.core.errors import Corrupt, Invalid, NotFound, Unavailable
from undrift.exchange.folders import Folder
from undrift.exchange.mlflow_files import Pieces, files_at, model_id_of, number_of, text_of
from undrift.exchange.model import (
    Report,
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceRegistered,
    SourceRun,
    SourceVersion,
    batches,
)
from undrift.tracking import DatasetUse, LoggedDataset, MetricSeries

__all__ = ["Sqlite"]

_SCHEMAS = {"dc11669786a5": "3.17"}
"""The schemas that are read, by the number that MLflow gives them, and since which release."""

_AT_ONCE = 100
_MODEL_STATUSES: dict[int, Literal["pending", "ready", "upload_failed"]] = {
    1: "pending",
    2: "ready",
    3: "upload_failed",
}
_DELETED = "Deleted_Internal"


class Sqlite:
    """A database of MLflow on SQLite.

    Args:
        path: The file.
        report: Takes what cannot be read.
        artifacts: The folder that holds the artifacts; ``mlruns`` and ``mlartifacts`` beside the file when left out.

    Raises:
        NotFound: There is no such file.
        Invalid: It is no database of MLflow, or of a schema that is not known.
        Unavailable: It is locked.
    """

    def __init__(self, path: Path, report: Report, artifacts: Path | None = None) -> None:
        if not path.is_file():
            raise NotFound(f"There is no database {path}.", next_step="Name the file, such as sqlite:///mlflow.db.")
        path = path.resolve()
        beside = [path.parent / "mlruns", path.parent / "mlartifacts"]
        self._roots = [Folder(one) for one in ([artifacts] if artifacts else beside)]
        self._report = report
        self.label = f"MLflow's database {path}"
        self._experiment = ""
        self._model_points: dict[str, dict[tuple[str, int, int, str], list[tuple[str, str, str]]]] = {}
        self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=30)
        self._db.row_factory = sqlite3.Row
        # What is no UTF-8 must not stop everything else.
        self._db.text_factory = lambda data: data.decode(errors="replace")
        try:
            # One snapshot, however long it takes and whoever writes meanwhile.
            self._db.execute("BEGIN")
            versions = [text_of(row[0]) for row in self._db.execute("SELECT version_num FROM alembic_version")]
        except sqlite3.DatabaseError as error:
            self._db.close()
            if "locked" in str(error):
                raise Unavailable(f"{path} is locked.", next_step="Stop what writes to it, and try again.") from None
            raise Invalid(f"{path} is no database of MLflow: {error}.", next_step="Name MLflow's own file.") from None
        if len(versions) != 1 or versions[0] not in _SCHEMAS:
            self._db.close()
            raise Invalid(
                f"{path} has the schema {', '.join(versions)[:100] or 'of no version'}, which undrift does not know.",
                next_step=f"Run `mlflow db upgrade sqlite:///{path}` with MLflow {_SCHEMAS['dc11669786a5']}, on a copy "
                "if you like; or start `mlflow server` on it and import from its address.",
            )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _rows(self, query: str, *values: Any) -> Iterator[sqlite3.Row]:
        with closing(self._db.cursor()) as cursor:
            try:
                yield from cursor.execute(query, values)
            except sqlite3.DatabaseError as error:
                raise Corrupt(
                    f"{self.label} cannot be read: {error}.", next_step="Run `PRAGMA integrity_check` on it."
                ) from None

    def _words(self, table: str, key: str, value: str, where: str, *values: Any) -> dict[str, str]:
        # Names of tables and columns are constants of this file.
        query = f'SELECT "{key}", "{value}" FROM "{table}" WHERE {where} ORDER BY 1'  # noqa: S608
        return {text_of(row[0]): text_of(row[1]) for row in self._rows(query, *values)}

    def _words_of(self, table: str, owner: str, key: str, value: str, ids: list[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {id_: {} for id_ in ids}
        marks = ",".join("?" * len(ids))
        query = f'SELECT "{owner}", "{key}", "{value}" FROM "{table}" WHERE "{owner}" IN ({marks})'  # noqa: S608
        for row in self._rows(query, *ids):
            found[row[0]][text_of(row[1])] = text_of(row[2])
        return found

    def experiments(self) -> Iterator[SourceExperiment]:
        """Give all experiments, also deleted ones."""
        for row in self._rows("SELECT * FROM experiments ORDER BY experiment_id"):
            created = number_of(row["creation_time"])
            yield SourceExperiment(
                id=text_of(row["experiment_id"]),
                name=text_of(row["name"]),
                created_ms=created,
                updated_ms=number_of(row["last_update_time"], created),
                state="deleted" if row["lifecycle_stage"] == "deleted" else "active",
                tags=self._words("experiment_tags", "key", "value", "experiment_id = ?", row["experiment_id"]),
            )

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        """Give the runs of an experiment, also deleted ones."""
        self._read_model_points(experiment.id)
        rows = self._rows("SELECT * FROM runs WHERE experiment_id = ? ORDER BY start_time, run_uuid", experiment.id)
        for some in batches(rows, _AT_ONCE):
            yield from self._some_runs(experiment.id, some)

    def _some_runs(self, experiment_id: str, rows: list[sqlite3.Row]) -> Iterator[SourceRun]:
        ids = [text_of(row["run_uuid"]) for row in rows]
        parameters = self._words_of("params", "run_uuid", "key", "value", ids)
        tags = self._words_of("tags", "run_uuid", "key", "value", ids)
        uses = self._uses(ids)
        marks = ",".join("?" * len(ids))
        models: dict[str, list[tuple[str, str, int]]] = {id_: [] for id_ in ids}
        for row in self._rows(
            "SELECT source_type, source_id, destination_id, step FROM inputs "  # noqa: S608 - marks are question marks
            f"WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT') AND source_id IN ({marks}) ORDER BY destination_id",
            *ids,
        ):
            models[row["source_id"]].append(
                (row["source_type"], text_of(row["destination_id"]), number_of(row["step"]))
            )
        for row, id_ in zip(rows, ids, strict=True):
            ended = row["end_time"]
            yield SourceRun(
                id=id_,
                experiment_id=experiment_id,
                name=text_of(row["name"]) or tags[id_].get("mlflow.runName", ""),
                status=text_of(row["status"]).lower(),
                started_ms=number_of(row["start_time"]),
                ended_ms=None if ended is None else number_of(ended),
                state="deleted" if row["lifecycle_stage"] == "deleted" else "active",
                user=text_of(row["user_id"]),
                parent_id=tags[id_].get("mlflow.parentRunId"),
                parameters=parameters[id_],
                tags=tags[id_],
                datasets=tuple(uses[id_]),
                model_inputs=tuple(model for kind, model, _ in models[id_] if kind == "RUN_INPUT"),
                model_outputs=tuple((model, step) for kind, model, step in models[id_] if kind == "RUN_OUTPUT"),
                location=text_of(row["artifact_uri"]),
            )

    def _uses(self, ids: list[str]) -> dict[str, list[DatasetUse]]:
        found: dict[str, list[DatasetUse]] = {id_: [] for id_ in ids}
        marks = ",".join("?" * len(ids))
        for row in self._rows(
            "SELECT i.input_uuid, i.destination_id AS run, d.* FROM inputs i "  # noqa: S608 - as above
            "JOIN datasets d ON d.dataset_uuid = i.source_id WHERE i.source_type = 'DATASET' "
            f"AND i.destination_type = 'RUN' AND i.destination_id IN ({marks}) ORDER BY d.name, d.digest",
            *ids,
        ):
            dataset = LoggedDataset(
                text_of(row["name"]),
                text_of(row["digest"]),
                text_of(row["dataset_source_type"]),
                text_of(row["dataset_source"]),
                text_of(row["dataset_schema"]),
                text_of(row["dataset_profile"]),
            )
            tags = self._words("input_tags", "name", "value", "input_uuid = ?", row["input_uuid"])
            found[row["run"]].append(DatasetUse(dataset, tags))
        return found

    def _read_model_points(self, experiment_id: str) -> None:
        """Note which points of which runs were measured on models; the table of metrics does not say it."""
        self._model_points = {}
        for row in self._rows(
            "SELECT * FROM logged_model_metrics WHERE experiment_id = ? "
            "ORDER BY run_id, metric_name, metric_timestamp_ms, metric_step, model_id",
            experiment_id,
        ):
            value = row["metric_value"]
            key = (
                text_of(row["metric_name"]),
                number_of(row["metric_step"]),
                number_of(row["metric_timestamp_ms"]),
                (math.nan if (number := _float(value)) is None else number).hex(),
            )
            measured = (text_of(row["model_id"]), text_of(row["dataset_name"]), text_of(row["dataset_digest"]))
            self._model_points.setdefault(text_of(row["run_id"]), {}).setdefault(key, []).append(measured)

    def points(self, run: SourceRun) -> Iterator[MetricSeries]:
        """Give the points of a run; those that were measured on a model or a dataset say so."""
        pieces = Pieces()
        of_models = self._model_points.get(run.id, {})
        last = ""
        bad: dict[str, int] = {}
        for row in self._rows(
            'SELECT "key", value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? '
            'ORDER BY "key", timestamp, step, value',
            run.id,
        ):
            name = text_of(row["key"])
            if name != last:
                yield from pieces.rest()
                last = name
            value = math.nan if row["is_nan"] else _float(row["value"])
            if value is None:
                bad[name] = bad.get(name, 0) + 1
                continue
            step, time_ms = number_of(row["step"]), number_of(row["timestamp"])
            # The table of models cannot hold NaN: MLflow writes 0 there.
            there = 0.0 if row["is_nan"] else value
            for measured in of_models.get((name, step, time_ms, there.hex()), [("", "", "")]):
                if full := pieces.add((name, *measured), step, time_ms, value):
                    yield full
        yield from pieces.rest()
        for name, count in bad.items():
            self._report.refuse("metric", f"{run.id}/{name}", f"{count} of its values are no numbers.")

    def models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        """Give the logged models of an experiment, also deleted ones."""
        for row in self._rows("SELECT * FROM logged_models WHERE experiment_id = ? ORDER BY model_id", experiment.id):
            id_ = text_of(row["model_id"])
            created = number_of(row["creation_timestamp_ms"])
            yield SourceModel(
                id=id_,
                experiment_id=experiment.id,
                name=text_of(row["name"]),
                created_ms=created,
                updated_ms=number_of(row["last_updated_timestamp_ms"], created),
                type=text_of(row["model_type"]),
                source_run_id=text_of(row["source_run_id"]),
                status=_MODEL_STATUSES.get(row["status"], "ready"),
                status_message=text_of(row["status_message"]),
                state="deleted" if row["lifecycle_stage"] == "deleted" else "active",
                parameters=self._words("logged_model_params", "param_key", "param_value", "model_id = ?", id_),
                tags=self._words("logged_model_tags", "tag_key", "tag_value", "model_id = ?", id_),
                location=text_of(row["artifact_location"]),
            )

    def registered(self) -> Iterator[SourceRegistered]:
        """Give the registered models."""
        for row in self._rows("SELECT * FROM registered_models ORDER BY workspace, name"):
            name, workspace = text_of(row["name"]), row["workspace"]
            if workspace != "default":
                self._report.refuse("registered model", name, f"It is of the workspace {workspace!r}, not of default.")
                continue
            created = number_of(row["creation_time"])
            mine = "workspace = ? AND name = ?"
            aliases = self._words("registered_model_aliases", "alias", "version", mine, workspace, name)
            yield SourceRegistered(
                name=name,
                created_ms=created,
                updated_ms=number_of(row["last_updated_time"], created),
                description=text_of(row["description"]),
                tags=self._words("registered_model_tags", "key", "value", mine, workspace, name),
                aliases={alias: number_of(number) for alias, number in aliases.items()},
                versions=tuple(self._versions(workspace, name)),
            )

    def _versions(self, workspace: str, name: str) -> Iterator[SourceVersion]:
        for row in self._rows(
            "SELECT * FROM model_versions WHERE workspace = ? AND name = ? ORDER BY version", workspace, name
        ):
            created = number_of(row["creation_time"])
            number = number_of(row["version"])
            if row["current_stage"] == _DELETED:
                # MLflow overwrites all other fields.
                yield SourceVersion(number, created, number_of(row["last_updated_time"], created), deleted=True)
                continue
            mine = "workspace = ? AND name = ? AND version = ?"
            source = text_of(row["source"])
            yield SourceVersion(
                number=number,
                created_ms=created,
                updated_ms=number_of(row["last_updated_time"], created),
                source=source,
                location=text_of(row["storage_location"]),
                run_id=text_of(row["run_id"]),
                run_link=text_of(row["run_link"]),
                model_id=model_id_of(source),
                user=text_of(row["user_id"]),
                stage=text_of(row["current_stage"]) or "None",
                status=text_of(row["status"]) or "READY",
                description=text_of(row["description"]),
                tags=self._words("model_version_tags", "key", "value", mine, workspace, name, number),
            )

    def files(self, owner: SourceRun | SourceModel | SourceVersion) -> Iterator[SourceFile]:
        """Give the files of a run, a logged model or a version; only artifact roots are opened."""
        if isinstance(owner, SourceVersion):
            uri, tail, name = owner.location or owner.source, "", f"version {owner.number}"
        else:
            uri, name = owner.location, owner.id
            middle = "models/" if isinstance(owner, SourceModel) else ""
            tail = f"{owner.experiment_id}/{middle}{owner.id}/artifacts"
        parts = urlsplit(uri)
        proxied = parts.path.lstrip("/") if parts.scheme == "mlflow-artifacts" else ""
        kept = [root.path / place for root in self._roots for place in (proxied, tail) if place]
        if proxied and not any(one.exists() for one in kept):
            # Nothing was ever written there, or the server keeps it elsewhere: only one of them is worth a word.
            if not any(root.path.is_dir() for root in self._roots):
                self._report.refuse("files", name, f"{uri} was kept by a server; name its folder with --artifacts.")
            return
        yield from files_at("" if proxied else uri, kept, self._roots, self._report, name)


def _float(value: Any) -> float | None:
    """Return a number; SQLite keeps whatever was written, also where one should stand.

    >>> _float(1), _float("many"), _float(None)
    (1.0, None, None)
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
