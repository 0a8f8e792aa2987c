"""Tables of webhooks."""

import sqlalchemy as sa

from undrift.metastore import Json, UtcTime, metadata

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("url", sa.String(2000), nullable=False),
    sa.Column("format", sa.String(20), nullable=False),
    sa.Column("event_types", Json, nullable=False),
    sa.Column("mlflow_events", Json, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("previous_secret", sa.Text, nullable=False),
    sa.Column("previous_until", UtcTime),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("start_position", sa.BigInteger, nullable=False),
    sa.Column("delivered", sa.BigInteger, nullable=False),
    sa.Column("dead", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_attempt_at", UtcTime),
    sa.Column("last_delivered_at", UtcTime),
    sa.Column("last_status", sa.Integer),
    sa.Column("paused_until", UtcTime),
    # Who sends to it, and until when: a lease, so that a sender that died blocks nothing for long.
    sa.Column("claim", sa.String(32)),
    sa.Column("claimed_until", UtcTime),
    sa.Index("ix_webhooks_project_id", "project", "id"),
)

# What is to be sent, one row for each webhook and event.
deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("webhook_id", sa.String(32), nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("event_id", sa.String(32), nullable=False),
    sa.Column("event_type", sa.String(100), nullable=False),
    sa.Column("mlflow_event", sa.String(100), nullable=False),
    sa.Column("data", Json),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("tries", Json, nullable=False),
    sa.Column("next_attempt_at", UtcTime),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
    sa.Index("ix_webhook_deliveries_due", "webhook_id", "state", "next_attempt_at", "position", "part"),
    sa.Index("ix_webhook_deliveries_webhook_id_position", "webhook_id", "position", "part"),
    sa.Index("ix_webhook_deliveries_state_expires_at", "state", "expires_at"),
    sa.Index("ix_webhook_deliveries_state_ended_at", "state", "ended_at"),
)
