"""Tables of artifacts."""

import sqlalchemy as sa

from undrift.metastore import UtcTime, metadata

# Byte by byte: a folder is then one stretch of the index, on every engine.
_Path = sa.String(1000).with_variant(sa.String(1000, collation="C"), "postgresql")

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("root", sa.String(70), nullable=False),
    sa.Column("path", _Path, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.PrimaryKeyConstraint("root", "path"),
    sa.Index("ix_artifacts_digest", "digest"),  # who still needs an object
)
