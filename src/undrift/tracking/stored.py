"""What tracking keeps in the store, and how what was deleted is removed for good.

A run, an experiment or a logged model that was deleted is only hidden. It is *doomed* once that was long enough ago and
nobody holds it; then its rows go, and nothing needs its artifacts any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from undrift.metastore.references import Doomed, Holding, Reference
from undrift.tracking.artifacts.tables import artifacts
from undrift.tracking.tables import (
    experiment_tags,
    experiments,
    logged_datasets,
    logged_model_metrics,
    logged_model_parameters,
    logged_model_tags,
    logged_models,
    metric_chunks,
    run_links,
    run_metrics,
    run_parameters,
    run_tags,
    runs,
)

__all__ = [
    "EXPERIMENTS",
    "HOLDINGS",
    "NO_REFERENCES",
    "REFERENCES",
    "Removed",
    "deleted_among",
    "deleted_later",
    "doomed_experiments",
    "doomed_models",
    "doomed_runs",
    "doomed_sizes",
    "remove_experiments",
    "remove_models",
    "remove_runs",
]


class Removed(NamedTuple):
    """Something that is removed, or would be.

    Attributes:
        id: Its id.
        project: Whose it was.
        name: How it was called.
        deleted_at: When it was deleted.
    """

    id: str
    project: str
    name: str
    deleted_at: datetime


def _experiments(doomed: Doomed) -> Any:
    rule = (experiments.c.state == "deleted") & (experiments.c.updated_at <= doomed.before)
    for held in doomed.held.experiments:
        rule &= experiments.c.id.not_in(held)
    return rule & (experiments.c.project == doomed.project) if doomed.project else rule


def _experiment_ids(doomed: Doomed) -> Any:
    return experiments.select().with_only_columns(experiments.c.id).where(_experiments(doomed))


def _runs(doomed: Doomed) -> Any:
    rule = (runs.c.state == "deleted") & (runs.c.deleted_at <= doomed.before)
    for held in doomed.held.runs:
        rule &= runs.c.id.not_in(held)
    for held in doomed.held.experiments:
        rule &= runs.c.experiment_id.not_in(held)
    return rule & (runs.c.project == doomed.project) if doomed.project else rule


def _run_ids(doomed: Doomed) -> Any:
    return runs.select().with_only_columns(runs.c.id).where(_runs(doomed))


def _models(doomed: Doomed) -> Any:
    rule = (logged_models.c.state == "deleted") & (logged_models.c.deleted_at <= doomed.before)
    # In a deleted experiment nobody sees them any more.
    rule |= logged_models.c.experiment_id.in_(_experiment_ids(doomed))
    if doomed.with_models:
        rule |= logged_models.c.source_run_id.in_(_run_ids(doomed))
    for held in doomed.held.logged_models:
        rule &= logged_models.c.id.not_in(held)
    for held in doomed.held.experiments:
        rule &= logged_models.c.experiment_id.not_in(held)
    return rule & (logged_models.c.project == doomed.project) if doomed.project else rule


def _model_ids(doomed: Doomed) -> Any:
    return logged_models.select().with_only_columns(logged_models.c.id).where(_models(doomed))


def _dead_artifacts(doomed: Doomed) -> Any:
    return artifacts.c.root.in_(_run_ids(doomed)) | artifacts.c.root.in_(_model_ids(doomed))


REFERENCES = (
    Reference("artifact", artifacts.c.digest, "object", (artifacts.c.root, artifacts.c.path), _dead_artifacts),
    Reference(
        "link of run",
        run_links.c.ref,
        "any",
        (run_links.c.run_id, run_links.c.name),
        lambda doomed: run_links.c.run_id.in_(_run_ids(doomed)),
    ),
    Reference(
        "link of run",
        run_links.c.details,
        "text",
        (run_links.c.run_id, run_links.c.name),
        lambda doomed: run_links.c.run_id.in_(_run_ids(doomed)),
    ),
)

NO_REFERENCES = {
    run_metrics.c.dataset_digest: "what a client says of its own dataset",
    metric_chunks.c.dataset_digest: "what a client says of its own dataset",
    logged_model_metrics.c.dataset_digest: "what a client says of its own dataset",
    logged_datasets.c.digest: "what a client says of its own dataset",
    logged_datasets.c.schema: "text of the client, kept in the row",
    logged_datasets.c.profile: "text of the client, kept in the row",
    run_parameters.c.head: "the beginning of a value",
    run_tags.c.head: "the beginning of a value",
}

HOLDINGS = (
    Holding(
        "artifacts of runs",
        artifacts.join(runs, artifacts.c.root == runs.c.id),
        runs.c.project,
        (runs.c.user, runs.c.actor),
        artifacts.c.digest,
        artifacts.c.size_bytes,
        runs.c.state == "active",
        (runs.c.id,),
    ),
    Holding(
        "artifacts of logged models",
        artifacts.join(logged_models, artifacts.c.root == logged_models.c.id),
        logged_models.c.project,
        logged_models.c.name,
        artifacts.c.digest,
        artifacts.c.size_bytes,
        logged_models.c.state == "active",
        (logged_models.c.id,),
    ),
    Holding(
        "deleted runs, not freed",
        artifacts.join(runs, artifacts.c.root == runs.c.id),
        runs.c.project,
        (runs.c.user, runs.c.actor),
        artifacts.c.digest,
        artifacts.c.size_bytes,
        runs.c.state == "deleted",
        (runs.c.id,),
    ),
    Holding(
        "deleted logged models, not freed",
        artifacts.join(logged_models, artifacts.c.root == logged_models.c.id),
        logged_models.c.project,
        logged_models.c.name,
        artifacts.c.digest,
        artifacts.c.size_bytes,
        logged_models.c.state == "deleted",
        (logged_models.c.id,),
    ),
)

EXPERIMENTS = Holding(
    "experiment",
    artifacts.join(runs, artifacts.c.root == runs.c.id).join(experiments, experiments.c.id == runs.c.experiment_id),
    runs.c.project,
    experiments.c.created_by,
    artifacts.c.digest,
    artifacts.c.size_bytes,
    runs.c.state.in_(("active", "deleted")),
    (experiments.c.name,),
)


def doomed_runs(tx: Any, doomed: Doomed, limit: int, after: str = "") -> list[Removed]:
    """Return doomed runs in the order of their ids."""
    columns = (runs.c.id, runs.c.project, runs.c.name, runs.c.deleted_at)
    query = runs.select().with_only_columns(*columns).where(_runs(doomed), runs.c.id > after)
    return [Removed(*row) for row in tx.execute(query.order_by(runs.c.id).limit(limit))]


def doomed_models(tx: Any, doomed: Doomed, limit: int, after: str = "") -> list[Removed]:
    """Return doomed logged models in the order of their ids."""
    table = logged_models.join(experiments, experiments.c.id == logged_models.c.experiment_id)
    query = (
        table.select()
        .with_only_columns(
            logged_models.c.id,
            logged_models.c.project,
            logged_models.c.name,
            logged_models.c.deleted_at,
            experiments.c.updated_at,
        )
        .where(_models(doomed), logged_models.c.id > after)
    )
    found = tx.execute(query.order_by(logged_models.c.id).limit(limit))
    return [
        Removed(row.id, row.project, row.name, row.deleted_at or min(row.updated_at, doomed.before)) for row in found
    ]


def doomed_experiments(tx: Any, doomed: Doomed, limit: int, after: int = 0) -> list[Removed]:
    """Return doomed experiments in which nothing is left but what is doomed, in the order of their numbers."""
    left_runs = runs.select().with_only_columns(runs.c.experiment_id).where(~_runs(doomed))
    left_models = logged_models.select().with_only_columns(logged_models.c.experiment_id).where(~_models(doomed))
    columns = (experiments.c.id, experiments.c.project, experiments.c.name, experiments.c.updated_at)
    query = (
        experiments.select()
        .with_only_columns(*columns)
        .where(_experiments(doomed), experiments.c.id > after)
        .where(~left_runs.where(runs.c.experiment_id == experiments.c.id).correlate(experiments).exists())
        .where(~left_models.where(logged_models.c.experiment_id == experiments.c.id).correlate(experiments).exists())
    )
    found = tx.execute(query.order_by(experiments.c.id).limit(limit))
    return [Removed(str(row.id), row.project, row.name, row.updated_at) for row in found]


def deleted_later(tx: Any, before: datetime, limit: int) -> list[Removed]:
    """Return runs that were deleted after a moment: they are kept for now."""
    query = (
        runs.select()
        .with_only_columns(runs.c.id, runs.c.project, runs.c.name, runs.c.deleted_at)
        .where(runs.c.state == "deleted", runs.c.deleted_at > before)
    )
    return [Removed(*row) for row in tx.execute(query.order_by(runs.c.deleted_at).limit(limit))]


def deleted_among(tx: Any, ids: Any, before: datetime, limit: int) -> list[str]:
    """Return runs that were deleted before a moment and are among these: a list of ids, or a query that gives them."""
    rule = (runs.c.state == "deleted") & (runs.c.deleted_at <= before)
    query = runs.select().with_only_columns(runs.c.id).where(rule, runs.c.id.in_(ids))
    return list(tx.scalars(query.order_by(runs.c.id).limit(limit)))


def doomed_sizes(tx: Any, roots: Iterable[str]) -> dict[str, int]:
    """Return the objects that these runs or logged models name, with their sizes in bytes; 0 where none is known."""
    ids = list(roots)
    query = artifacts.select().with_only_columns(artifacts.c.digest, artifacts.c.size_bytes)
    found: dict[str, int] = dict.fromkeys(_links_of(tx, ids), 0)
    found.update((row.digest, row.size_bytes) for row in tx.execute(query.where(artifacts.c.root.in_(ids))))
    return found


def _links_of(tx: Any, ids: list[str]) -> list[str]:
    query = run_links.select().with_only_columns(run_links.c.ref).where(run_links.c.run_id.in_(ids))
    # Versions of datasets and of code have a life of their own, and a long history.
    query = query.where(run_links.c.kind.not_in(("dataset_version", "dataset", "code")))
    return [row.ref for row in tx.execute(query)]


def remove_runs(tx: Any, doomed: Doomed, ids: list[str]) -> list[str]:
    """Remove runs with all they logged, as far as they are doomed still; returns their ids."""
    query = runs.select().with_only_columns(runs.c.id).where(_runs(doomed), runs.c.id.in_(ids))
    # Locked, so that nobody restores one in between.
    going = list(tx.scalars(query.with_for_update()))
    for column in (
        run_parameters.c.run_id,
        run_tags.c.run_id,
        run_metrics.c.run_id,
        metric_chunks.c.run_id,
        run_links.c.run_id,
        artifacts.c.root,
        runs.c.id,
    ):
        tx.execute(column.table.delete().where(column.in_(going)))
    return going


def remove_models(tx: Any, doomed: Doomed, ids: list[str]) -> list[str]:
    """Remove logged models with all they have, as far as they are doomed still; returns their ids."""
    query = logged_models.select().with_only_columns(logged_models.c.id)
    query = query.where(_models(doomed), logged_models.c.id.in_(ids))
    going = list(tx.scalars(query.with_for_update()))
    for column in (
        logged_model_parameters.c.model_id,
        logged_model_tags.c.model_id,
        logged_model_metrics.c.model_id,
        artifacts.c.root,
        logged_models.c.id,
    ):
        tx.execute(column.table.delete().where(column.in_(going)))
    return going


def remove_experiments(tx: Any, doomed: Doomed, ids: list[int]) -> list[int]:
    """Remove experiments that are empty, as far as they are doomed still; returns their numbers."""
    query = experiments.select().with_only_columns(experiments.c.id)
    query = query.where(_experiments(doomed), experiments.c.id.in_(ids))
    query = query.where(
        ~runs.select().with_only_columns(runs.c.id).where(runs.c.experiment_id == experiments.c.id).exists(),
        ~logged_models.select()
        .with_only_columns(logged_models.c.id)
        .where(logged_models.c.experiment_id == experiments.c.id)
        .exists(),
    )
    going = list(tx.scalars(query.with_for_update()))
    for column in (experiment_tags.c.experiment_id, logged_datasets.c.experiment_id, experiments.c.id):
        tx.execute(column.table.delete().where(column.in_(going)))
    return going
