"""INTERIM: to be written out when the tables stand still."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    import undrift.operations  # noqa
    from undrift.metastore import metadata

    tx = op.get_bind()
    for name in ("run_parameters", "run_tags", "run_metrics", "run_links", "runs", "models", "model_versions", "alias_moves"):
        op.drop_table(name)
    metadata.create_all(tx)
