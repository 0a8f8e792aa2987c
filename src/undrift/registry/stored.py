"""What the registry keeps in the store, and what of tracking it needs."""

from __future__ import annotations

from typing import Any

from undrift.metastore.references import Doomed, Reference
from undrift.registry.tables import (
    alias_moves,
    approval_decisions,
    approval_requests,
    models,
    versions,
)

__all__ = ["NO_REFERENCES", "REFERENCES", "find_version_bytes", "held_models", "held_runs", "trees"]


def _dead(doomed: Doomed) -> Any:
    rule = (versions.c.state == "deleted") & (versions.c.updated_at <= doomed.before)
    for held in doomed.held.versions:
        rule &= versions.c.id.not_in(held)
    if doomed.project:
        mine = models.select().with_only_columns(models.c.id).where(models.c.project == doomed.project)
        rule &= versions.c.model_id.in_(mine)
    return rule


_VERSION = (versions.c.model_id, versions.c.number)

REFERENCES = (
    Reference("model version", versions.c.artifact, "tree", _VERSION, _dead),
    Reference("reference profile of model version", versions.c.reference_profile, "object", _VERSION, _dead),
    Reference("training of model version", versions.c.training, "text", _VERSION, _dead),
    Reference("move of alias", alias_moves.c.evidence, "text", (alias_moves.c.model_id, alias_moves.c.alias)),
    Reference("request for approval", approval_requests.c.evidence, "text", (approval_requests.c.id,)),
    Reference("decision about approval", approval_decisions.c.evidence, "text", (approval_decisions.c.id,)),
)

NO_REFERENCES = {
    versions.c.signature: "names and types, in the row",
    versions.c.raw_signature: "names and types, in the row",
    versions.c.metrics: "numbers",
    versions.c.unsafe: "names of files",
    versions.c.trust: "who trusts the version, and why; its digest is the version's own artifact",
}


def held_runs() -> Any:
    """Return the query for runs whose artifacts a version is made of, because it has no tree of its own."""
    return (
        versions.select()
        .with_only_columns(versions.c.run_id)
        .where(versions.c.state != "deleted", versions.c.artifact.is_(None), versions.c.run_id.is_not(None))
    )


def held_models() -> Any:
    """Return the query for logged models whose artifacts a version is made of."""
    return (
        versions.select()
        .with_only_columns(versions.c.logged_model_id)
        .where(versions.c.state != "deleted", versions.c.artifact.is_(None), versions.c.logged_model_id.is_not(None))
    )


def find_version_bytes(tx: Any, project: str, model: str, number: int) -> tuple[str, str | None] | None:
    """Return the id of a version and its tree, also of one that was deleted; None when there is none."""
    query = (
        versions.join(models, models.c.id == versions.c.model_id)
        .select()
        .with_only_columns(versions.c.id, versions.c.artifact)
        .where(models.c.project == project, models.c.name == model, versions.c.number == number)
    )
    row = tx.execute(query).first()
    return None if row is None else (row[0], row[1])


def trees(tx: Any, project: str | None, limit: int) -> list[tuple[str, str, str, int, str, str]]:
    """Return project, owner, name, number, tree and state of the newest versions that have a tree.

    Args:
        tx: The transaction.
        project: Of this project; of all, when it is None.
        limit: At most so many.
    """
    query = (
        versions.join(models, models.c.id == versions.c.model_id)
        .select()
        .with_only_columns(
            models.c.project,
            models.c.owner,
            models.c.name,
            versions.c.number,
            versions.c.artifact,
            versions.c.state,
        )
        .where(versions.c.artifact.is_not(None))
        .order_by(versions.c.created_at.desc())
        .limit(limit)
    )
    if project is not None:
        query = query.where(models.c.project == project)
    return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in tx.execute(query)]
