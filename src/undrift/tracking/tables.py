"""Tables of tracking."""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("experiment", sa.String(100), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("parent_id", sa.String(32)),
    sa.Column("error", sa.Text, nullable=False),
    sa.Index("ix_runs_project_experiment_started_at", "project", "experiment", "started_at"),
)

run_parameters = sa.Table(
    "run_parameters",
    metadata,
    sa.Column("run_id", sa.String(32), sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("value", Json, nullable=False),
    sa.PrimaryKeyConstraint("run_id", "name"),
)

run_tags = sa.Table(
    "run_tags",
    metadata,
    sa.Column("run_id", sa.String(32), sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("run_id", "name"),
)

# A value that is no number (NaN, infinity) is kept as text beside: neither engine keeps it in a float column alike.
run_metrics = sa.Table(
    "run_metrics",
    metadata,
    sa.Column("run_id", sa.String(32), sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("time", UtcTime, nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("special", sa.String(4)),
    sa.PrimaryKeyConstraint("run_id", "name", "step", "time"),
)

run_links = sa.Table(
    "run_links",
    metadata,
    sa.Column("run_id", sa.String(32), sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("role", sa.String(10), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("ref", sa.String(250), nullable=False),
    sa.PrimaryKeyConstraint("run_id", "role", "name"),
    sa.Index("ix_run_links_ref", "ref"),
)
