"""Writing and reading versions of a dataset: the parts that hold tables, in the process that has them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from undrift.blobs import Commit
from undrift.core.clock import in_utc
from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.data import records
from undrift.data.checks import Check, InRange, apply_checks, propose_checks
from undrift.data.model import Column, Dataset, DatasetVersion

if TYPE_CHECKING:
    import polars as pl

__all__ = ["append", "find_dataset", "read", "read_newest"]

_NO_TYPE = "Null"
"""What polars calls the type of a column in which every value is missing."""


def find_dataset(ctx: Context, project: str, name: str) -> Dataset:
    """Return the dataset of that name.

    Raises:
        NotFound: There is none; the sentence lists those there are.
    """
    with ctx.read() as tx:
        dataset = records.find_dataset(tx, project, name)
        if dataset is None:
            known = [one.name for one in records.list_datasets(tx, project)]
            raise NotFound(
                f"There is no dataset {name!r} in project {project!r}.",
                next_step=f"Known are: {', '.join(known)}." if known else "Add one with `undrift data add`.",
                dataset=name,
            )
        return dataset


def read_newest(ctx: Context, dataset: Dataset) -> DatasetVersion | None:
    """Return the newest version of a dataset, without its rows."""
    with ctx.read() as tx:
        return records.find_version(tx, dataset.id)


def append(
    ctx: Context,
    dataset: Dataset,
    frame: pl.DataFrame,
    *,
    known_until: datetime,
    message: str,
    allow: Sequence[str] = (),
) -> DatasetVersion:
    """Add rows as the next version; earlier versions stay as they are. The cost follows the rows added.

    Rows that fail a check are kept in the version's quarantine with the reason, not among its rows. The first version
    with rows proposes the checks for those that follow. New columns are taken in; a column that disappeared or changed
    its type is refused unless it is named. Times are kept in UTC, to the microsecond; without a zone they are taken as
    UTC.

    Args:
        ctx: Who adds, and where.
        dataset: To what.
        frame: The rows; an empty frame adds a version that only says what is known until when.
        known_until: Everything known up to this moment is in it then.
        message: Why.
        allow: Columns whose disappearance or change of type is meant.

    Raises:
        Invalid: Key or time columns are missing or no times, or the schema changed in a way that was not named.
        Conflict: Somebody else added a version meanwhile; nothing was added.
    """
    from undrift.profiles import profile  # noqa: PLC0415 - brings polars, which the hub does without

    with ctx.read() as tx:
        newest = records.find_version(tx, dataset.id)
        checks = [msgspec.convert(check, Check) for check in records.find_checks(tx, dataset.id)]
    known_until = in_utc(known_until)
    if newest is not None and known_until < newest.known_until:
        raise Invalid(
            f"Version {newest.number} of {dataset.name!r} knows everything until {newest.known_until.isoformat()}; "
            f"a later version cannot stop at {known_until.isoformat()}."
        )
    frame = _times_in_utc(dataset, frame)
    columns = _columns_after(dataset, newest, frame, allow)
    _check_readable(ctx, dataset, newest, frame, allow)
    proposed = [] if checks or (newest is not None and newest.rows) else _proposed(dataset, frame)
    good, bad = apply_checks(frame, checks or proposed)
    number = 1 if newest is None else newest.number + 1
    parts = {
        f"{folder}/{number:06d}.parquet": _parquet(rows)
        for folder, rows in (("rows", good), ("quarantine", bad))
        # A first version without rows still says which columns there are.
        if rows.height or (newest is None and folder == "rows")
    }
    parent = None if newest is None else ctx.repository.commits.read(newest.id, needed_by=f"dataset {dataset.name}")
    summary = profile(good, event_time=dataset.time if good.columns else None).to_bytes()
    commit = Commit(
        tree=ctx.repository.trees.edit(None if parent is None else parent.tree, parts),
        parents=() if newest is None else (newest.id,),
        author=ctx.actor.name,
        message=message,
        time=ctx.now(),
        schema=ctx.repository.objects.put(msgspec.json.encode(columns)),
        profile=ctx.repository.objects.put(summary),
        facts={"dataset": dataset.name, "number": number, "known_until": known_until.isoformat()},
    )
    version = DatasetVersion(
        id=ctx.repository.commits.write(commit),
        dataset_id=dataset.id,
        number=number,
        parent=None if newest is None else newest.id,
        columns=columns,
        rows=good.height + (0 if newest is None else newest.rows),
        added_rows=good.height,
        quarantined_rows=bad.height,
        size_bytes=sum(len(part) for part in parts.values()) + len(summary),
        known_until=known_until,
        profile=commit.profile or "",
        created_at=commit.time,
        author=commit.author,
        message=message,
    )
    with ctx.begin() as tx:
        records.lock_dataset(tx, dataset.id)
        found = records.find_version(tx, dataset.id)
        if (None if found is None else found.id) != version.parent:
            raise Conflict(
                f"Somebody added version {0 if found is None else found.number} to {dataset.name!r} meanwhile.",
                next_step="Read the newest version, then add what is still missing.",
            )
        records.add_version(tx, version)
        if proposed:
            records.set_checks(tx, dataset.id, proposed)
        ctx.emit(
            "dataset.version_committed",
            f"datasets/{dataset.name}/{number}",
            project=dataset.project,
            commit=version.id,
            rows=version.rows,
            added_rows=version.added_rows,
            quarantined_rows=version.quarantined_rows,
            message=message,
        )
    return version


def read(
    ctx: Context, dataset: Dataset, *, number: int | None = None, quarantine: bool = False
) -> tuple[DatasetVersion | None, pl.DataFrame]:
    """Return a version of a dataset and its rows; None and an empty table when nothing was added yet.

    Args:
        ctx: Where from.
        dataset: Of what.
        number: Which version; the newest when left out.
        quarantine: Return the rows that were put aside instead.

    Raises:
        NotFound: There is no such version.
        Corrupt: A part in the store is missing or is not what was stored.
    """
    import polars as pl  # noqa: PLC0415 - the hub does without

    with ctx.read() as tx:
        version = records.find_version(tx, dataset.id, number=number)
    if version is None:
        if number is not None:
            raise NotFound(
                f"Dataset {dataset.name!r} has no version {number}.", next_step="List them with `undrift data`."
            )
        return None, pl.DataFrame()
    needed_by = f"version {version.number} of dataset {dataset.name!r}"
    commit = ctx.repository.commits.read(version.id, needed_by=needed_by)
    ctx.repository.trees.read(commit.tree, needed_by=needed_by)
    folder = "quarantine/" if quarantine else "rows/"
    parts = [
        pl.read_parquet(io.BytesIO(ctx.repository.objects.get(entry.digest, needed_by=needed_by)))
        for path, entry in ctx.repository.trees.walk(commit.tree)
        if path.startswith(folder)
    ]
    return version, pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame()


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _columns_after(
    dataset: Dataset, newest: DatasetVersion | None, frame: pl.DataFrame, allow: Sequence[str]
) -> tuple[Column, ...]:
    if newest is not None and not frame.columns:
        return newest.columns
    needed = [name for name in (dataset.key, dataset.time, dataset.known_at) if name not in frame.columns]
    if needed:
        raise Invalid(
            f"The rows for {dataset.name!r} have no column {', '.join(needed)}.",
            next_step=f"They have {', '.join(frame.columns) or 'none'}. Nothing was added.",
            missing=needed,
        )
    before = {} if newest is None else {column.name: column for column in newest.columns}
    now = {name: _column_after(name, frame[name], newest, before.get(name)) for name in frame.columns}
    gone = [name for name in before if name not in now and name not in allow]
    changed = [
        f"{name} was {before[name].type} and is {column.type}"
        for name, column in now.items()
        if name in before and before[name].type not in (column.type, _NO_TYPE) and name not in allow
    ]
    if gone or changed:
        what = "; ".join(([f"{', '.join(gone)} disappeared"] if gone else []) + changed)
        raise Invalid(
            f"The schema of {dataset.name!r} changed: {what}. Nothing was added.",
            next_step="Mend the file, or name the columns whose change is meant with --allow.",
            gone=gone,
            changed=changed,
        )
    absent = {name: msgspec.structs.replace(column, nullable=True) for name, column in before.items()}
    after = absent | now
    return tuple(after.values())


def _column_after(name: str, values: pl.Series, newest: DatasetVersion | None, before: Column | None) -> Column:
    dtype, missing = str(values.dtype), values.null_count() > 0
    if before is None:
        # The rows that are there already have no value in a new column.
        return Column(name, dtype, missing or (newest is not None and newest.rows > 0))
    # A batch in which every value is missing says nothing about the type.
    return Column(name, before.type if dtype == _NO_TYPE else dtype, missing or before.nullable)


def _times_in_utc(dataset: Dataset, frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - the hub does without

    times = []
    for name in dict.fromkeys((dataset.time, dataset.known_at)):
        dtype = frame.schema.get(name)
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
            times.append(pl.col(name).dt.convert_time_zone("UTC").dt.cast_time_unit("us"))
        elif isinstance(dtype, pl.Datetime | pl.Date | pl.Null):
            times.append(pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        elif dtype is not None:
            raise Invalid(
                f"The column {name!r} of {dataset.name!r} holds {dtype}, not times. Nothing was added.",
                next_step="Convert it to dates or datetimes first.",
            )
    return frame.with_columns(times)


def _proposed(dataset: Dataset, frame: pl.DataFrame) -> list[Check]:
    # A key that counts upwards leaves every range.
    return [one for one in propose_checks(frame) if not (isinstance(one, InRange) and one.column == dataset.key)]


def _check_readable(
    ctx: Context, dataset: Dataset, newest: DatasetVersion | None, frame: pl.DataFrame, allow: Sequence[str]
) -> None:
    if newest is None or not set(allow) & set(frame.columns):
        return
    import polars as pl  # noqa: PLC0415 - the hub does without

    _, before = read(ctx, dataset, number=newest.number)
    try:
        pl.concat([before.clear(), frame.clear()], how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise Invalid(
            f"The new rows of {dataset.name!r} could not be read beside the old ones: {error}. Nothing was added.",
            next_step="Put the new values into a column of another name.",
        ) from None
