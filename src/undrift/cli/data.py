"""`undrift data`: datasets and their versions, rows added from a file, and the checks that let them in."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from undrift.cli.models import pick_project
from undrift.cli.options import ANYWHERE, HERE, Anywhere, Local, connected, opened
from undrift.cli.output import moment, say, show_json, show_table
from undrift.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from undrift.core.context import Context
    from undrift.data import Dataset, DatasetVersion, RegisterDataset
    from undrift.workspace import Workspace

__all__ = ["data"]

data = App(name="data", group_commands="Commands")

_Project = Annotated[str | None, Parameter(help="Of this project.")]


@data.default
def look(
    name: Annotated[str | None, Parameter(help="Show the versions of this one; all are listed when left out.")] = None,
    /,
    *,
    project: _Project = None,
    limit: Annotated[int, Parameter(help="At most so many versions, newest first.")] = 20,
    where: Anywhere = ANYWHERE,
) -> None:
    """List datasets, or show the versions of one."""
    with connected(where) as client:
        found = client.data.list_datasets(project=project)
        if name is not None:
            known = [(one.dataset.project, one.dataset.name) for one in found]
            project = pick_project(known, "dataset", name, project)
            versions = client.data.list_versions(project=project, dataset=name, limit=limit)
            dataset = next(one.dataset for one in found if (one.dataset.project, one.dataset.name) == (project, name))
            quarantines = client.data.list_quarantines(project=project, dataset=name)
            if where.as_json:
                show_json({"dataset": dataset, "versions": versions, "quarantines": quarantines})
                return
            _show_versions(versions)
            if quarantines:
                say("\nKept out of training")
                show_table(
                    ["Columns", "From (UTC)", "To (UTC)", "Why"],
                    [
                        (", ".join(one.columns), moment(one.start), moment(one.end) or "open", one.reason)
                        for one in quarantines
                    ],
                )
            return
    if where.as_json:
        show_json(found)
    elif not found:
        say("There are no datasets yet.")
    else:
        show_table(
            ["Dataset", "Project", "Version", "Rows", "Known until (UTC)", "Key", "Time", "Owner"],
            [
                (
                    one.dataset.name,
                    one.dataset.project,
                    "" if one.newest is None else one.newest.number,
                    0 if one.newest is None else one.newest.rows,
                    "" if one.newest is None else moment(one.newest.known_until),
                    one.dataset.key,
                    one.dataset.time,
                    one.dataset.owner,
                )
                for one in found
            ],
        )


@data.command
def add(
    name: Annotated[str, Parameter(help="Which dataset; it is made when it is not there.")],
    file: Annotated[Path, Parameter(name="FILE", help="CSV or Parquet.")],
    /,
    *,
    key: Annotated[str | None, Parameter(help="Column that names a row; needed for a new dataset.")] = None,
    time: Annotated[
        str | None, Parameter(help="Column that says when a row's facts held; needed for a new dataset.")
    ] = None,
    known_at: Annotated[
        str | None, Parameter(help="Column that says when they became known; the same as --time when left out.")
    ] = None,
    owner: Annotated[str | None, Parameter(help="Who hears when a new dataset is wrong; you when left out.")] = None,
    project: _Project = None,
    allow: Annotated[
        tuple[str, ...],
        Parameter(help="A column whose disappearance or change of type is meant; may be given several times."),
    ] = (),
    message: Annotated[str | None, Parameter(help="Why; kept with the version.")] = None,
    where: Local = HERE,
) -> None:
    """Add the rows of a file to a dataset, as its next version.

    Times are read as UTC. Rows that fail a check are put aside with the reason; a changed schema is refused.
    """
    from undrift.cli.tables import latest, read_rows
    from undrift.data import append, read_newest, register_dataset

    with opened(where) as workspace:
        ctx = workspace.context()
        dataset = _find_or_none(ctx, name, project)
        if dataset is None:
            # The file is read first: one that cannot be leaves no dataset without rows behind.
            request = _declared(workspace, name, project) or _described(ctx, name, key, time, known_at, owner, project)
            frame = read_rows(file, request, ())
            dataset, known_until = register_dataset(ctx, request), latest(frame, request)
        else:
            _check_described(dataset, key, time, known_at)
            newest = read_newest(ctx, dataset)
            frame = read_rows(file, dataset, () if newest is None else newest.columns)
            known_until = latest(frame, dataset) if newest is None else max(latest(frame, dataset), newest.known_until)
        made = append(
            ctx, dataset, frame, known_until=known_until, message=message or f"Added {file.name}", allow=allow
        )
    if where.as_json:
        show_json(made)
        return
    say(f"Version {made.number} of {name}: {made.added_rows} rows added, {made.rows} in all.")
    if made.quarantined_rows:
        say(
            f"{made.quarantined_rows} rows failed a check and were put aside. "
            f"See what is asked of them with `undrift data checks {name}`."
        )


@data.command
def checks(
    name: Annotated[str, Parameter(help="Which dataset.")],
    /,
    *,
    project: _Project = None,
    where: Local = HERE,
) -> None:
    """Show what is asked of the rows of a dataset before they are let in."""
    # By name: the room offers no operation for this yet.
    find_checks = importlib.import_module("undrift.data.records").find_checks
    with opened(where) as workspace:
        ctx = workspace.context()
        dataset = _find(ctx, name, project)
        with ctx.read() as tx:
            found = find_checks(tx, dataset.id)
    if where.as_json:
        show_json(found)
    elif not found:
        say("There are none yet: the first version proposes them.")
    else:
        show_table(["Column", "Check"], [(one["column"], _in_words(one)) for one in found])


def _in_words(check: dict[str, object]) -> str:
    if check["type"] == "in_range":
        return f"between {check['low']:g} and {check['high']:g}"
    return f"missing in at most {check['max_missing_fraction']:.0%} of a file"


def _show_versions(versions: list[DatasetVersion]) -> None:
    if not versions:
        say("There are no versions yet.")
        return
    show_table(
        ["Version", "Rows", "Added", "Put aside", "Known until (UTC)", "Made (UTC)", "By", "Why"],
        [
            (
                one.number,
                one.rows,
                one.added_rows,
                one.quarantined_rows,
                moment(one.known_until),
                moment(one.created_at),
                one.author,
                one.message,
            )
            for one in versions
        ],
    )


def _find(ctx: Context, name: str, project: str | None) -> Dataset:
    from undrift.data import ListDatasets, find_dataset, list_datasets

    known = [(one.dataset.project, one.dataset.name) for one in list_datasets(ctx, ListDatasets())]
    return find_dataset(ctx, pick_project(known, "dataset", name, project), name)


def _find_or_none(ctx: Context, name: str, project: str | None) -> Dataset | None:
    try:
        return _find(ctx, name, project)
    except NotFound:
        return None


def _declared(workspace: Workspace, name: str, project: str | None) -> RegisterDataset | None:
    """Return the dataset as the workspace's project declares it, when it does."""
    from undrift.data import RegisterDataset
    from undrift.project import load_project

    path = workspace.folder.parent / workspace.settings.project
    if not path.is_file():
        return None
    found = load_project(path)
    one = found.datasets.get(name)
    if one is None or project not in (None, found.name):
        return None
    return RegisterDataset(found.name, one.name, one.key, one.time, one.known_at, one.owner)


def _described(
    ctx: Context,
    name: str,
    key: str | None,
    time: str | None,
    known_at: str | None,
    owner: str | None,
    project: str | None,
) -> RegisterDataset:
    from undrift.data import RegisterDataset

    if key is None or time is None or project is None:
        raise Invalid(
            f"There is no dataset {name!r} yet, so it needs --project, --key and --time.",
            next_step="Such as: undrift data add orders FILE --project shop --key order_id --time ordered",
        )
    return RegisterDataset(project, name, key, time, known_at or time, owner or ctx.actor.name)


def _check_described(dataset: Dataset, key: str | None, time: str | None, known_at: str | None) -> None:
    for option, said, found in (
        ("--key", key, dataset.key),
        ("--time", time, dataset.time),
        ("--known-at", known_at, dataset.known_at),
    ):
        if said not in (None, found):
            raise Invalid(
                f"Dataset {dataset.name!r} has {found!r} for {option}, not {said!r}.",
                next_step="Leave the option out, or add the rows to a dataset of another name.",
            )
