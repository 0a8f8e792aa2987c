"""Tables of the loop."""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

cycles = sa.Table(
    "cycles",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("endpoint", sa.String(100), nullable=False),
    sa.Column("model", sa.String(100), nullable=False),
    sa.Column("stage", sa.String(30), nullable=False),
    sa.Column("trigger", sa.String(40), nullable=False),
    sa.Column("incident", sa.Integer),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("stage_since", UtcTime, nullable=False),
    sa.Column("rollout_since", UtcTime),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("champion", sa.Integer),
    sa.Column("challenger", sa.Integer),
    sa.Column("run_id", sa.String(32)),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("closed_at", UtcTime),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Index("ix_cycles_endpoint_opened_at", "endpoint", "opened_at"),
)
