"""Where records live: SQLite (embedded) or PostgreSQL (by address), behind transactions that share their commits.

Words: *database*, *transaction* (a SQLAlchemy connection inside a block), *migration*. A room keeps its tables in
``tables.py`` on `metadata` and its SQL in ``records.py``; nobody else writes SQL. An acknowledged write is on disk.
"""

from undrift.metastore.database import SqlDatabase, open_database
from undrift.metastore.migrate import migrate
from undrift.metastore.schema import Json, Prepared, UtcTime, bytewise, insert_or_ignore, like, metadata, to_struct

__all__ = [
    "Json",
    "Prepared",
    "SqlDatabase",
    "UtcTime",
    "bytewise",
    "insert_or_ignore",
    "like",
    "metadata",
    "migrate",
    "open_database",
    "to_struct",
]
