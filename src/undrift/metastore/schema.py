"""What all tables share: one catalogue, UTC times, JSON values, and the table of idempotent answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from undrift.core.clock import in_utc

__all__ = ["Json", "UtcTime", "answers", "bytewise", "insert_or_ignore", "like", "metadata", "to_struct"]

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encoder = msgspec.json.Encoder(order="sorted")


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A moment in UTC, kept as whole microseconds since 1970: it sorts, and no engine can shift its zone."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        """Turn an aware moment into microseconds, exactly; one without a zone is refused (Invalid)."""
        if value is None:
            return None
        since = in_utc(value) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Turn microseconds into an aware moment."""
        if value is None:
            return None
        seconds, microseconds = divmod(value, 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


class Json(sa.types.TypeDecorator[Any]):
    """A JSON-able value or msgspec Struct, kept as canonical text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        """Encode with sorted keys."""
        return None if value is None else _encoder.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:  # noqa: ARG002
        """Decode to plain dicts and lists; rooms convert to their Structs."""
        return None if value is None else msgspec.json.decode(value)


answers = sa.Table(
    "answers",
    metadata,
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("operation", sa.String(100), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)


_T = TypeVar("_T")


def to_struct(row: sa.RowMapping, struct: type[_T]) -> _T:
    """Turn a row into a Struct whose fields are named as its columns."""
    # SQLAlchemy names some columns by a subclass of str, which msgspec does not take for a field's name.
    return msgspec.convert({"".join(name): value for name, value in row.items()}, struct)


def insert_or_ignore(tx: sa.Connection, table: sa.Table) -> Any:
    """Return an insert into the table that leaves rows alone that are there already.

    The ``rowcount`` of its result says how many were new.
    """
    make = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    # Without this option psycopg's count is thrown away (-1) before anybody can ask for it.
    return make(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def bytewise(tx: sa.Connection, column: Any) -> Any:
    """Return a text column as it is to be ordered: byte by byte on every engine, whatever the language of the host."""
    return sa.collate(column, "C") if tx.dialect.name == "postgresql" else column


def like(tx: sa.Connection, column: Any, pattern: str, *, case_sensitive: bool) -> Any:
    """Return whether a text column matches a pattern in which ``%`` stands for any text and ``_`` for one character.

    Nothing else in the pattern has a meaning. Without case only letters of ASCII are alike on SQLite.
    """
    if tx.dialect.name == "postgresql":
        return column.like(pattern, escape="") if case_sensitive else column.ilike(pattern, escape="")
    if not case_sensitive:
        return sa.func.lower(column).like(pattern.lower())
    # SQLite's LIKE knows no case; its GLOB does, with other signs.
    glob = "".join({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}.get(sign, sign) for sign in pattern)
    return column.op("GLOB")(glob)
