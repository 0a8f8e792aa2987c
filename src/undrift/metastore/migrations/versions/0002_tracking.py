"""Tracking as its clients know it, the registry as a history, artifacts, webhooks, holds.

Runs, their logs, models, versions and alias moves get new columns and keys: each such table is set aside, made anew and
filled from what was set aside. Points of metrics, one a row before, become chunks.
"""

import json
import math
import struct
from itertools import groupby

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Those that refer to others first.
_REBUILT = (
    "run_parameters",
    "run_tags",
    "run_metrics",
    "run_links",
    "runs",
    "alias_moves",
    "model_versions",
    "models",
)


def upgrade() -> None:
    """Make the tables and fill them."""
    for name in _REBUILT:
        op.execute(f"CREATE TABLE {name}_before AS SELECT * FROM {name}")  # noqa: S608 - the names above
        op.drop_table(name)
    _create()
    tx = op.get_bind()
    for statement in _FILLS:
        tx.execute(sa.text(statement))
    _fill_parameters(tx)
    _fill_points(tx)
    for name in _REBUILT:
        op.drop_table(f"{name}_before")
    op.add_column("answers", sa.Column("request", sa.String(64)))


_FILLS = (
    """INSERT INTO experiments (project, name, state, created_at, updated_at, created_by)
       SELECT project, experiment, 'active', min(started_at), max(started_at), min(actor)
       FROM runs_before GROUP BY project, experiment ORDER BY min(started_at), project, experiment""",
    """INSERT INTO runs (id, project, experiment_id, name, kind, status, state, started_at, ended_at, actor, "user",
                          parent_id, error)
       SELECT r.id, r.project, e.id, r.name, r.kind, r.status, 'active', r.started_at, r.ended_at, r.actor, '',
              r.parent_id, r.error
       FROM runs_before r JOIN experiments e ON e.project = r.project AND e.name = r.experiment""",
    """INSERT INTO run_tags (run_id, name, experiment_id, value, head)
       SELECT t.run_id, t.name, r.experiment_id, t.value, substr(t.value, 1, 64)
       FROM run_tags_before t JOIN runs r ON r.id = t.run_id""",
    """INSERT INTO run_links (run_id, role, kind, name, ref, context)
       SELECT run_id, role, kind, name, ref, '' FROM run_links_before""",
    """INSERT INTO models (id, project, name, owner, created_at, description, updated_at)
       SELECT id, project, name, owner, created_at, '', created_at FROM models_before""",
    """INSERT INTO model_versions (id, model_id, number, key, run_id, artifact, format, signature, source, run_link,
                                    training, metrics, reference_profile, description, unsafe, created_at, created_by,
                                    updated_at, state, state_reason)
       SELECT v.id, m.id, v.number, v.run_id, v.run_id, v.artifact, v.format, v.signature, '', '', v.training,
              v.metrics, v.reference_profile, '', '[]', v.created_at, v.created_by, v.created_at, v.state,
              v.state_reason
       FROM model_versions_before v JOIN models m ON m.project = v.project AND m.name = v.model""",
    """INSERT INTO alias_moves (id, model_id, alias, sequence, number, previous, at, until, actor, reason, evidence)
       SELECT a.id, m.id, a.alias, a.sequence, a.number, a.previous, a.at,
              LEAD(a.at) OVER (PARTITION BY m.id, a.alias ORDER BY a.sequence), a.actor, a.reason, a.evidence
       FROM alias_moves_before a JOIN models m ON m.project = a.project AND m.name = a.model""",
)


def _fill_parameters(tx: sa.Connection) -> None:
    """Strings stand as they are from now on, everything else as JSON."""
    query = """SELECT p.run_id, p.name, p.value, r.experiment_id FROM run_parameters_before p
               JOIN runs r ON r.id = p.run_id"""
    insert = sa.text(
        """INSERT INTO run_parameters (run_id, name, experiment_id, value, is_json, head)
           VALUES (:run_id, :name, :experiment_id, :value, :is_json, :head)"""
    )
    for rows in tx.execute(sa.text(query)).partitions(1000):
        filled = []
        for row in rows:
            value = json.loads(row.value)
            text = value if isinstance(value, str) else row.value
            filled.append(
                {
                    "run_id": row.run_id,
                    "name": row.name,
                    "experiment_id": row.experiment_id,
                    "value": text,
                    "is_json": not isinstance(value, str),
                    "head": text[:64],
                }
            )
        tx.execute(insert, filled)


def _fill_points(tx: sa.Connection) -> None:
    query = """SELECT m.run_id, m.name, m.step, m.time, m.value, m.special, r.experiment_id FROM run_metrics_before m
               JOIN runs r ON r.id = m.run_id ORDER BY m.run_id, m.name, m.time, m.step"""
    chunk = sa.text(
        """INSERT INTO metric_chunks (run_id, name, model_id, dataset_name, dataset_digest, length, first_ms, last_ms,
                                      points)
           VALUES (:run_id, :name, '', '', '', :length, :first_ms, :last_ms, :points)"""
    )
    newest = sa.text(
        """INSERT INTO run_metrics (run_id, name, experiment_id, value, step, time_ms, model_id, dataset_name,
                                    dataset_digest)
           VALUES (:run_id, :name, :experiment_id, :value, :step, :time_ms, '', '', '')"""
    )
    # One result at a time on a connection: what is read is kept before anything is written.
    rows = tx.execute(sa.text(query)).all()
    for (run_id, name, experiment_id), some in groupby(rows, lambda row: (row.run_id, row.name, row.experiment_id)):
        points = [
            (row.step, row.time // 1000, row.value if row.special is None else float(row.special)) for row in some
        ]
        for begin in range(0, len(points), 4096):
            steps, times, values = zip(*points[begin : begin + 4096], strict=True)
            packed = struct.pack(f"<{len(steps)}q{len(steps)}q{len(steps)}d", *steps, *times, *values)
            values_of_chunk = {"run_id": run_id, "name": name, "length": len(steps), "points": packed}
            tx.execute(chunk, values_of_chunk | {"first_ms": min(times), "last_ms": max(times)})
        step, time_ms, value = max(points, key=lambda point: point[:2])
        shown = None if math.isnan(value) else value
        point = {"value": shown, "step": step, "time_ms": time_ms}
        tx.execute(newest, {"run_id": run_id, "name": name, "experiment_id": experiment_id, **point})


def _create() -> None:
    op.create_table(
        "alias_moves",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("alias", sa.String(length=255), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("previous", sa.Integer(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias_moves")),
        sa.UniqueConstraint("model_id", "alias", "sequence", name=op.f("uq_alias_moves_model_id_alias_sequence")),
    )
    op.create_index("ix_alias_moves_model_id_until", "alias_moves", ["model_id", "until"], unique=False)
    op.create_table(
        "approval_decisions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("approve", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_decisions")),
    )
    op.create_index(op.f("ix_approval_decisions_request_id"), "approval_decisions", ["request_id"], unique=False)
    op.create_table(
        "approval_policies",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=100), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("alias", sa.String(length=255), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_policies")),
        sa.UniqueConstraint(
            "project",
            "model_id",
            "alias",
            "sequence",
            name=op.f("uq_approval_policies_project_model_id_alias_sequence"),
        ),
    )
    op.create_table(
        "approval_requests",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("alias", sa.String(length=255), nullable=False),
        sa.Column("asked_by", sa.String(length=200), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_requests")),
    )
    op.create_index("ix_approval_requests_model_id_number", "approval_requests", ["model_id", "number"], unique=False)
    op.create_table(
        "artifacts",
        sa.Column("root", sa.String(length=70), nullable=False),
        sa.Column(
            "path",
            sa.String(length=1000).with_variant(sa.String(length=1000, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("root", "path", name=op.f("pk_artifacts")),
    )
    op.create_index("ix_artifacts_digest", "artifacts", ["digest"], unique=False)
    op.create_table(
        "experiments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("project", "name", name=op.f("uq_experiments_project_name")),
    )
    op.create_table(
        "given_up",
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("holder", name=op.f("pk_given_up")),
    )
    op.create_table(
        "holds",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=100), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("ref", sa.String(length=70), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("released_by", sa.String(length=200), nullable=True),
        sa.Column("release_reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index("ix_holds_subject", "holds", ["subject"], unique=False)
    op.create_table(
        "logged_datasets",
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "name", "digest", name=op.f("pk_logged_datasets")),
    )
    op.create_table(
        "logged_model_metrics",
        sa.Column("model_id", sa.String(length=34), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("dataset_name", sa.String(length=500), nullable=False),
        sa.Column("dataset_digest", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "model_id", "name", "run_id", "dataset_name", "dataset_digest", name=op.f("pk_logged_model_metrics")
        ),
    )
    op.create_table(
        "logged_model_parameters",
        sa.Column("model_id", sa.String(length=34), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("pk_logged_model_parameters")),
    )
    op.create_table(
        "logged_model_tags",
        sa.Column("model_id", sa.String(length=34), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("pk_logged_model_tags")),
    )
    op.create_table(
        "logged_models",
        sa.Column("id", sa.String(length=34), nullable=False),
        sa.Column("project", sa.String(length=100), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("type", sa.String(length=500), nullable=False),
        sa.Column("source_run_id", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logged_models")),
    )
    op.create_index(
        "ix_logged_models_experiment_created",
        "logged_models",
        ["experiment_id", sa.literal_column("created_at DESC"), "id"],
        unique=False,
    )
    op.create_index("ix_logged_models_source_run", "logged_models", ["source_run_id"], unique=False)
    op.create_table(
        "metric_chunks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("model_id", sa.String(length=34), nullable=False),
        sa.Column("dataset_name", sa.String(length=500), nullable=False),
        sa.Column("dataset_digest", sa.String(length=64), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric_chunks")),
    )
    op.create_index("ix_metric_chunks_run_name", "metric_chunks", ["run_id", "name"], unique=False)
    op.create_table(
        "model_tags",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "key", name=op.f("pk_model_tags")),
    )
    op.create_index("ix_model_tags_key", "model_tags", ["key"], unique=False)
    op.create_table(
        "model_version_tags",
        sa.Column("version_id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "key", name=op.f("pk_model_version_tags")),
    )
    op.create_index("ix_model_version_tags_key", "model_version_tags", ["key"], unique=False)
    op.create_table(
        "model_versions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=250), nullable=True),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.Column("artifact", sa.String(length=64), nullable=True),
        sa.Column("format", sa.String(length=20), nullable=True),
        sa.Column("signature", sa.Text(), nullable=True),
        sa.Column("raw_signature", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("run_link", sa.Text(), nullable=False),
        sa.Column("logged_model_id", sa.String(length=50), nullable=True),
        sa.Column("training", sa.Text(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("reference_profile", sa.String(length=64), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("unsafe", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("model_id", "key", name=op.f("uq_model_versions_model_id_key")),
        sa.UniqueConstraint("model_id", "number", name=op.f("uq_model_versions_model_id_number")),
    )
    op.create_index(op.f("ix_model_versions_logged_model_id"), "model_versions", ["logged_model_id"], unique=False)
    op.create_index(op.f("ix_model_versions_run_id"), "model_versions", ["run_id"], unique=False)
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("project", "name", name=op.f("uq_models_project_name")),
    )
    op.create_table(
        "run_links",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("ref", sa.String(length=250), nullable=False),
        sa.Column("context", sa.String(length=500), nullable=False),
        sa.Column("details", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "role", "kind", "name", "ref", name=op.f("pk_run_links")),
    )
    op.create_index("ix_run_links_ref", "run_links", ["ref"], unique=False)
    op.create_table(
        "run_metrics",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.String(length=34), nullable=False),
        sa.Column("dataset_name", sa.String(length=500), nullable=False),
        sa.Column("dataset_digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_metrics")),
    )
    op.create_index("ix_run_metrics_value", "run_metrics", ["experiment_id", "name", "value", "run_id"], unique=False)
    op.create_table(
        "run_parameters",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("is_json", sa.Boolean(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_parameters")),
    )
    op.create_index(
        "ix_run_parameters_head", "run_parameters", ["experiment_id", "name", "head", "run_id"], unique=False
    )
    op.create_table(
        "run_tags",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_tags")),
    )
    op.create_index("ix_run_tags_head", "run_tags", ["experiment_id", "name", "head", "run_id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=100), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=8000), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("user", sa.String(length=256), nullable=False),
        sa.Column("parent_id", sa.String(length=32), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(
        "ix_runs_experiment_started",
        "runs",
        ["experiment_id", sa.literal_column("started_at DESC"), "id"],
        unique=False,
    )
    op.create_index("ix_runs_parent", "runs", ["parent_id"], unique=False)
    op.create_index(
        "ix_runs_project_started", "runs", ["project", sa.literal_column("started_at DESC"), "id"], unique=False
    )
    op.create_table(
        "stage_moves",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("version_id", sa.String(length=32), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=20), nullable=False),
        sa.Column("previous", sa.String(length=20), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stage_moves")),
        sa.UniqueConstraint("version_id", "sequence", name=op.f("uq_stage_moves_version_id_sequence")),
    )
    op.create_table(
        "unneeded_objects",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_unneeded_objects")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("webhook_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.String(length=32), nullable=False),
        sa.Column("event_type", sa.String(length=100), nullable=False),
        sa.Column("mlflow_event", sa.String(length=100), nullable=False),
        sa.Column("data", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Text(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["webhook_id", "state", "next_attempt_at", "position", "part"],
        unique=False,
    )
    op.create_index("ix_webhook_deliveries_state_ended_at", "webhook_deliveries", ["state", "ended_at"], unique=False)
    op.create_index(
        "ix_webhook_deliveries_state_expires_at", "webhook_deliveries", ["state", "expires_at"], unique=False
    )
    op.create_index(
        "ix_webhook_deliveries_webhook_id_position",
        "webhook_deliveries",
        ["webhook_id", "position", "part"],
        unique=False,
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("format", sa.String(length=20), nullable=False),
        sa.Column("event_types", sa.Text(), nullable=False),
        sa.Column("mlflow_events", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=False),
        sa.Column("previous_until", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("start_position", sa.BigInteger(), nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_attempt_at", sa.BigInteger(), nullable=True),
        sa.Column("last_delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("paused_until", sa.BigInteger(), nullable=True),
        sa.Column("claim", sa.String(length=32), nullable=True),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_project_id", "webhooks", ["project", "id"], unique=False)
    op.create_table(
        "experiment_tags",
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name=op.f("fk_experiment_tags_experiment_id")),
        sa.PrimaryKeyConstraint("experiment_id", "name", name=op.f("pk_experiment_tags")),
    )
