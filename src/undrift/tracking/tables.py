"""Tables of tracking.

Hot tables have no foreign keys: every write looks at its run in the same transaction, and PostgreSQL would lock that
run's row once more for each row that refers to it.
"""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

# SQLite counts up only in a column that is called INTEGER.
_Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")

experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("id", _Number, primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.UniqueConstraint("project", "name"),
)

experiment_tags = sa.Table(
    "experiment_tags",
    metadata,
    sa.Column("experiment_id", sa.BigInteger, sa.ForeignKey("experiments.id"), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("experiment_id", "name"),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.String(8000), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("user", sa.String(256), nullable=False),
    sa.Column("parent_id", sa.String(32)),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("deleted_at", UtcTime),
)
# The order in which runs are looked at most: pages walk along it instead of sorting.
sa.Index("ix_runs_experiment_started", runs.c.experiment_id, runs.c.started_at.desc(), runs.c.id)
sa.Index("ix_runs_project_started", runs.c.project, runs.c.started_at.desc(), runs.c.id)
sa.Index("ix_runs_parent", runs.c.parent_id)

# `head` is the beginning of the value: what an index can hold, however long the value is.
run_parameters = sa.Table(
    "run_parameters",
    metadata,
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("is_json", sa.Boolean, nullable=False),
    sa.Column("head", sa.String(64), nullable=False),
    sa.PrimaryKeyConstraint("run_id", "name"),
    sa.Index("ix_run_parameters_head", "experiment_id", "name", "head", "run_id"),
)

run_tags = sa.Table(
    "run_tags",
    metadata,
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("head", sa.String(64), nullable=False),
    sa.PrimaryKeyConstraint("run_id", "name"),
    sa.Index("ix_run_tags_head", "experiment_id", "name", "head", "run_id"),
)

# The newest point of each metric: what lists show and searches compare. No value means NaN.
run_metrics = sa.Table(
    "run_metrics",
    metadata,
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("model_id", sa.String(34), nullable=False),
    sa.Column("dataset_name", sa.String(500), nullable=False),
    sa.Column("dataset_digest", sa.String(64), nullable=False),
    sa.PrimaryKeyConstraint("run_id", "name"),
    sa.Index("ix_run_metrics_value", "experiment_id", "name", "value", "run_id"),
)

# All points, many to a row: see `undrift.tracking.points`.
metric_chunks = sa.Table(
    "metric_chunks",
    metadata,
    sa.Column("id", _Number, primary_key=True),
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("model_id", sa.String(34), nullable=False),
    sa.Column("dataset_name", sa.String(500), nullable=False),
    sa.Column("dataset_digest", sa.String(64), nullable=False),
    sa.Column("length", sa.Integer, nullable=False),
    sa.Column("first_ms", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
    sa.Column("points", sa.LargeBinary, nullable=False),
    sa.Index("ix_metric_chunks_run_name", "run_id", "name"),
)

run_links = sa.Table(
    "run_links",
    metadata,
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("role", sa.String(10), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("ref", sa.String(250), nullable=False),
    sa.Column("context", sa.String(500), nullable=False),
    sa.Column("details", Json),
    sa.PrimaryKeyConstraint("run_id", "role", "kind", "name", "ref"),
    sa.Index("ix_run_links_ref", "ref"),
)

# What is known of a dataset that a client described; the first description stays.
logged_datasets = sa.Table(
    "logged_datasets",
    metadata,
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("source_type", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("schema", sa.Text, nullable=False),
    sa.Column("profile", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("experiment_id", "name", "digest"),
)

logged_models = sa.Table(
    "logged_models",
    metadata,
    sa.Column("id", sa.String(34), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("type", sa.String(500), nullable=False),
    sa.Column("source_run_id", sa.String(32), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("status_message", sa.Text, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("deleted_at", UtcTime),
)
sa.Index(
    "ix_logged_models_experiment_created",
    logged_models.c.experiment_id,
    logged_models.c.created_at.desc(),
    logged_models.c.id,
)
sa.Index("ix_logged_models_source_run", logged_models.c.source_run_id)

logged_model_parameters = sa.Table(
    "logged_model_parameters",
    metadata,
    sa.Column("model_id", sa.String(34), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("model_id", "name"),
)

logged_model_tags = sa.Table(
    "logged_model_tags",
    metadata,
    sa.Column("model_id", sa.String(34), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("model_id", "name"),
)

# The newest point of each metric of a model, by the run and the dataset it was measured on. No value means NaN.
logged_model_metrics = sa.Table(
    "logged_model_metrics",
    metadata,
    sa.Column("model_id", sa.String(34), nullable=False),
    sa.Column("name", sa.String(250), nullable=False),
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("dataset_name", sa.String(500), nullable=False),
    sa.Column("dataset_digest", sa.String(64), nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("model_id", "name", "run_id", "dataset_name", "dataset_digest"),
)
