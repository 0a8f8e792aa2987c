"""What all tables share: one catalogue, UTC times, JSON values, and the table of idempotent answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from undrift.core.clock import in_utc
from undrift.core.errors import TooLarge

__all__ = [
    "Json",
    "Prepared",
    "UtcTime",
    "answers",
    "bytewise",
    "insert_or_ignore",
    "like",
    "metadata",
    "to_struct",
]

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
_LONGEST_GLOB = 50_000
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
    sa.Column("request", sa.String(64)),  # its hash; none for what was answered before it was kept
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)


_T = TypeVar("_T")


def to_struct(row: sa.RowMapping, struct: type[_T]) -> _T:
    """Turn a row into a Struct whose fields are named as its columns."""
    # SQLAlchemy names some columns by a subclass of str, which msgspec does not take for a field's name.
    return msgspec.convert({"".join(name): value for name, value in row.items()}, struct)


class Prepared:
    """A statement that is put together once for an engine, for where it is carried out a thousand times a second.

    SQLAlchemy takes longer to put a statement together than SQLite to carry it out. Values are given as the database
    takes them: the types of columns turn nothing into anything here.

    Args:
        statement: For each engine the statement, or one for all.
        columns: Names of the values that an insert is given; for other statements what it names itself.
    """

    def __init__(self, statement: Any, *columns: str) -> None:
        self._statements = statement if isinstance(statement, dict) else {"sqlite": statement, "postgresql": statement}
        self._columns = list(columns) or None
        self._made: dict[str, tuple[str, list[str] | None]] = {}

    def many(self, tx: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Carry it out for each row."""
        text, order = self._of(tx)
        tx.exec_driver_sql(
            text, list(rows) if order is None else [tuple([row[name] for name in order]) for row in rows]
        )

    def one(self, tx: sa.Connection, values: Mapping[str, Any]) -> sa.CursorResult[Any]:
        """Carry it out once."""
        text, order = self._of(tx)
        return tx.exec_driver_sql(text, dict(values) if order is None else tuple([values[name] for name in order]))

    def _of(self, tx: sa.Connection) -> tuple[str, list[str] | None]:
        made = self._made.get(tx.dialect.name)
        if made is None:
            compiled: Any = self._statements[tx.dialect.name].compile(dialect=tx.dialect, column_keys=self._columns)
            made = self._made[tx.dialect.name] = str(compiled), compiled.positiontup
        return made


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

    Nothing else in the pattern has a meaning. Without case, characters are compared one by one in lower case, those of
    every script and the same on every engine: what `undrift.testing.patterns.matches` says of a text.

    Raises:
        TooLarge: The engine takes no pattern of that length.
    """
    if tx.dialect.name == "postgresql":
        if case_sensitive:
            return column.like(pattern, escape="")
        # What ILIKE and lower() take for the same letter depends on the language of the host. Only the letters of the
        # pattern matter: any other character of the column differs from them as it is.
        lowered = "".join(map(_lower, pattern))
        alike = [(case, sign) for sign in sorted(set(lowered)) for case in _cases().get(sign, ()) if case != sign]
        if alike:
            cases, signs = ("".join(one) for one in zip(*alike, strict=True))
            column = sa.func.translate(column, cases, signs)
        return column.like(lowered, escape="")
    # SQLite's LIKE knows the letters of ASCII only, and no case of those; its GLOB does, with other signs.
    glob = _glob(pattern, case_sensitive=case_sensitive)
    if len(glob.encode()) > _LONGEST_GLOB:
        raise TooLarge(
            f"A pattern of {len(pattern):,} characters cannot be compared.", next_step="Ask for a part of the text."
        )
    return column.op("GLOB", is_comparison=True)(glob)


def _glob(pattern: str, *, case_sensitive: bool) -> str:
    r"""Translate a pattern into one of SQLite's GLOB.

    >>> _glob("\u00e4_%b*", case_sensitive=False) == "[\u00c4\u00e4]?*[Bb][[*]".replace("[[", "[")
    True
    """

    def one(sign: str) -> str:
        if sign in "*?[":
            return f"[{sign}]"
        cases = () if case_sensitive else _cases().get(_lower(sign), ())
        return f"[{''.join(cases)}]" if cases else sign

    return "".join({"%": "*", "_": "?"}.get(sign) or one(sign) for sign in pattern)


def _lower(sign: str) -> str:
    lowered = sign.lower()
    return lowered if len(lowered) == 1 else sign


@cache
def _cases() -> dict[str, tuple[str, ...]]:
    """Return, for every lower-case letter, all characters that it is the lower case of; only where there are others."""
    found: dict[str, list[str]] = {}
    for sign in map(chr, range(sys.maxunicode + 1)):
        lowered = _lower(sign)
        if lowered != sign:
            found.setdefault(lowered, [lowered]).append(sign)
    return {lowered: tuple(sorted(cases)) for lowered, cases in found.items()}
