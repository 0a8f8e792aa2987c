"""Tables of governance."""

import sqlalchemy as sa

from undrift.metastore import UtcTime, metadata

holds = sa.Table(
    "holds",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(100), nullable=False),
    sa.Column("subject", sa.String(400), nullable=False),
    # What the subject is called in its own table: an id, a number, or a digest.
    sa.Column("ref", sa.String(70), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("released_at", UtcTime),
    sa.Column("released_by", sa.String(200)),
    sa.Column("release_reason", sa.Text, nullable=False),
    sa.Index("ix_holds_subject", "subject"),
)

# Objects that nothing needed when somebody looked, and since when that is known.
unneeded_objects = sa.Table(
    "unneeded_objects",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("since", UtcTime, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
)

# Things whose rows stay for the history although their bytes were given up.
given_up = sa.Table(
    "given_up",
    metadata,
    sa.Column("holder", sa.String(200), primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
)
