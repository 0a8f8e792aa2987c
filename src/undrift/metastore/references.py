"""How a room says which of its columns name objects in the store, so that whoever frees storage can ask them all.

A room that keeps bytes has a file ``stored.py`` with its `Reference` for each such column, and with the columns that
look as if they named an object and do not. A test finds columns of which nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, NamedTuple

__all__ = ["Doomed", "Held", "Holding", "Reference"]


class Held(NamedTuple):
    """What must not be removed, however long ago it was deleted.

    Attributes:
        runs: Ids of runs; a list, or a query that gives them.
        experiments: Numbers of experiments.
        logged_models: Ids of logged models; a list, or a query that gives them.
        versions: Ids of model versions.
    """

    runs: tuple[Any, ...] = ()
    experiments: tuple[Any, ...] = ()
    logged_models: tuple[Any, ...] = ()
    versions: tuple[Any, ...] = ()


class Doomed(NamedTuple):
    """What may be removed: everything that was deleted before a moment, and is not held.

    Attributes:
        before: The moment.
        held: What stays all the same.
        project: Only of this project; of all, when it is empty.
        with_models: Logged models that are not deleted go with the run that made them.
    """

    before: datetime
    held: Held
    project: str = ""
    with_models: bool = False


class Reference(NamedTuple):
    """A column that names objects.

    Attributes:
        what: Whose, in words, such as ``artifact``.
        column: The column.
        kind: What it names: an ``object``, a ``tree`` or a ``commit`` with all below it; ``any`` of them, or something
            else; ``text`` in which any number of them may be named.
        holder: A column that says which one it is; several are joined by ``/``.
        dead: Gives the condition for rows that do not count any more.
    """

    what: str
    column: Any
    kind: Literal["object", "tree", "commit", "any", "text"]
    holder: tuple[Any, ...]
    dead: Callable[[Doomed], Any] | None = None


class Holding(NamedTuple):
    """A kind of bytes whose sizes the tables know.

    Attributes:
        what: The kind, in words.
        rows: A table, or tables that are joined.
        project: The column of the project.
        owner: The column of whoever it belongs to; of several, the first that says something.
        digest: The column of the object: equal ones are kept once.
        size: The column of the size in bytes.
        where: Which rows.
        name: Columns that say of which thing it is, joined by ``/``: the largest are shown.
    """

    what: str
    rows: Any
    project: Any
    owner: Any
    digest: Any
    size: Any
    where: Any
    name: tuple[Any, ...]
