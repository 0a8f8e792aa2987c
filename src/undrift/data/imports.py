"""What brings in datasets from an archive with their versions and times, and what reads all of them."""

from __future__ import annotations

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, NotFound, TooLarge
from undrift.core.ids import check_id, check_name, derive_id
from undrift.core.operation import operation
from undrift.data import records
from undrift.data.model import Dataset, DatasetVersion
from undrift.data.versions import find_dataset

__all__ = ["ExportDataset", "ImportDataset", "export_dataset", "import_dataset"]

_MOST = 500


class ImportDataset(msgspec.Struct, frozen=True):
    """A dataset as it was elsewhere, with versions whose commits are in the store already, at most 500 a call.

    Attributes:
        dataset: The dataset; its id is kept where it is free.
        source: Where it comes from, for the log.
        versions: Its versions, oldest first.
    """

    dataset: Dataset
    source: str
    versions: tuple[DatasetVersion, ...] = ()


class ExportDataset(msgspec.Struct, frozen=True):
    """Of which dataset, after which version, at most so many (1 to 500), oldest first."""

    project: str
    dataset: str
    after: int = 0
    limit: int = _MOST


@operation("data.import_dataset", permission="data:write", emits=("dataset.imported",))
def import_dataset(ctx: Context, request: ImportDataset) -> int:
    """Bring in a dataset and versions of it, and return how many of these were new; those that are there stay.

    Raises:
        NotFound: The commit of a version is not in the store.
        Conflict: There is a dataset of that name with another key or other time columns.
        TooLarge: More than 500 versions in one call.
    """
    given = request.dataset
    check_name(given.project, "project")
    check_name(given.name, "dataset")
    check_id(given.id)
    if len(request.versions) > _MOST:
        raise TooLarge(f"{len(request.versions)} versions in one call.", next_step=f"Send at most {_MOST} a call.")
    for version in request.versions:
        if ctx.repository.objects.size(version.id) is None:
            raise NotFound(f"There is no commit {version.id} for version {version.number} of {given.name!r}.")
    with ctx.begin() as tx:
        known = records.find_dataset(tx, given.project, given.name)
        if known is None:
            taken = any(one.id == given.id for one in records.list_datasets(tx, None))
            id_ = derive_id(given.created_at, "import", given.project, given.id) if taken else given.id
            known = msgspec.structs.replace(given, id=id_)
            records.add_dataset(tx, known)
        elif (known.key, known.time, known.known_at) != (given.key, given.time, given.known_at):
            raise Conflict(f"Dataset {known.name!r} is here with another key or other times.")
        records.lock_dataset(tx, known.id)
        there = {one.number for one in records.list_versions(tx, known.id, limit=1_000_000)}
        fresh = [one for one in request.versions if one.number not in there]
        for version in fresh:
            records.add_version(tx, msgspec.structs.replace(version, dataset_id=known.id))
        if fresh or known.id == given.id:
            ctx.emit(
                "dataset.imported",
                f"datasets/{known.name}",
                project=known.project,
                versions=len(fresh),
                source=request.source,
            )
        return len(fresh)


@operation("data.export_dataset", permission="data:read")
def export_dataset(ctx: Context, request: ExportDataset) -> list[DatasetVersion]:
    """Return the versions of a dataset by number, a page at a time.

    Raises:
        NotFound: There is no such dataset.
    """
    dataset = find_dataset(ctx, request.project, request.dataset)
    with ctx.read() as tx:
        found = records.list_versions(tx, dataset.id, limit=1_000_000)
    later = [one for one in reversed(found) if one.number > request.after]
    return later[: max(1, min(request.limit, _MOST))]
