"""`undrift runs`: what was executed, what went in and what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from undrift.cli.models import pick_project
from undrift.cli.options import ANYWHERE, Anywhere, connected, workspace_folder
from undrift.cli.output import duration, moment, number, say, show_fields, show_json, show_table
from undrift.cli.sync import sync
from undrift.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from undrift.client import Client
    from undrift.tracking import Experiment, Run

__all__ = ["hub_address", "runs", "say_link"]

_SHOWN = 4
_LISTED = 100
_ASIDE = ("system/", "cost/")

_Project = Annotated[str | None, Parameter(help="Of this project; needed when there are several.")]
_RunIds = Annotated[tuple[str, ...], Parameter(help="Ids of runs.")]

runs = App(name="runs", group_commands="Commands")
runs.command(sync)
runs.command("undrift.cli.compare:compare", name="compare")


@runs.default
def look(
    run_id: Annotated[str | None, Parameter(help="Show this run; all are listed when left out.")] = None,
    /,
    *,
    project: Annotated[str | None, Parameter(help="Only those of this project.")] = None,
    experiment: Annotated[str | None, Parameter(help="Only those of this experiment.")] = None,
    where_: Annotated[
        str, Parameter(name="--filter", help="What has to hold, such as \"metrics.auc > 0.9 AND params.model = 'x'\".")
    ] = "",
    order: Annotated[str, Parameter(help='By what, such as "metrics.auc DESC"; the newest first when left out.')] = "",
    columns: Annotated[
        str, Parameter(help="What to show, with commas between: metrics.auc,parameters.depth; some when left out.")
    ] = "",
    deleted: Annotated[bool, Parameter(help="Those that are deleted instead.")] = False,
    limit: Annotated[int, Parameter(help="At most so many, newest first.")] = 20,
    where: Anywhere = ANYWHERE,
) -> None:
    """List runs, or show one."""
    if run_id is not None:
        show(run_id, where=where)
        return
    with connected(where) as client:
        if experiment or where_ or order or columns or deleted:
            _search(
                client,
                where,
                project=project,
                experiment=experiment,
                filter_=where_,
                order=order,
                columns=columns,
                deleted=deleted,
                limit=limit,
            )
            return
        found = client.tracking.list_runs(project=project, limit=limit)
    if where.as_json:
        show_json(found)
    elif not found:
        say("There are no runs yet.")
    else:
        show_table(
            ["Run", "Experiment", "Name", "Status", "Started (UTC)", "Took", "Metrics"],
            [
                (
                    run.id,
                    f"{run.project}/{run.experiment}",
                    _short(run.name),
                    run.status,
                    moment(run.started_at),
                    _took(run),
                    _metrics(run),
                )
                for run in found
            ],
        )
        say_link(where, f"/runs?project={_quoted(project)}" if project else "/runs")


def _search(
    client: Client,
    where: Anywhere,
    *,
    project: str | None,
    experiment: str | None,
    filter_: str,
    order: str,
    columns: str,
    deleted: bool,
    limit: int,
) -> None:
    of = _experiment(client, project, experiment) if experiment else None
    project = _only_project(client, project) if of is None else of.project
    metrics, parameters = _read_columns(columns) if columns else (_usual(client, of), ())
    page = client.tracking.search_runs(
        project=project,
        experiment_ids=None if of is None else (of.id,),
        filter=filter_,
        order_by=(order,) if order else (),
        view="deleted" if deleted else "active",
        limit=limit,
        metrics=metrics,
        parameters=parameters,
        tags=(),
    )
    if where.as_json:
        show_json(page.runs)
        return
    if not page.runs:
        say("No run is like that.")
    else:
        # A run that is not a number there says so; one that was never measured is left blank.
        show_table(
            ["Run", "Name", "Status", "Started (UTC)", "Took", *metrics, *parameters],
            [
                (
                    run.id,
                    _short(run.name),
                    run.status,
                    moment(run.started_at),
                    _took(run),
                    *(_value(run, name) for name in metrics),
                    *(_short(run.parameters.get(name, "")) for name in parameters),
                )
                for run in page.runs
            ],
        )
        if page.next_page_token:
            say(f"There are more than these {len(page.runs)}: see --limit.")
    if of is not None:
        given = [("filter", filter_), ("order", order), ("view", "deleted" if deleted else "")]
        if columns:
            given += [("columns", "chosen"), *(("metric", one) for one in metrics)]
            given += [("parameter", one) for one in parameters]
        asked = "&".join(f"{name}={_quoted(value)}" for name, value in given if value)
        say_link(where, f"/runs/{_quoted(project)}/{of.id}{'?' if asked else ''}{asked}")


@runs.command
def show(run_id: Annotated[str, Parameter(help="The run's id.")], /, *, where: Anywhere = ANYWHERE) -> None:
    """Show a run: parameters, metrics, inputs, outputs."""
    with connected(where) as client:
        run = client.tracking.find_run(run_id=run_id)
    if where.as_json:
        show_json(run)
        return
    _show(run)
    say_link(where, f"/runs/{run.id}")


@runs.command
def experiments(
    *,
    project: Annotated[str | None, Parameter(help="Only those of this project.")] = None,
    where_: Annotated[str, Parameter(name="--filter", help="What has to hold, such as \"name LIKE 'late%'\".")] = "",
    deleted: Annotated[bool, Parameter(help="Those that are deleted instead.")] = False,
    limit: Annotated[int, Parameter(help="At most so many of each project, the last changed first.")] = 50,
    where: Anywhere = ANYWHERE,
) -> None:
    """List experiments."""
    with connected(where) as client:
        found: list[Experiment] = []
        for one in [project] if project else _projects(client):
            page = client.tracking.search_experiments(
                project=one,
                filter=where_,
                order_by=("last_update_time DESC",),
                view="deleted" if deleted else "active",
                limit=limit,
            )
            found.extend(page.experiments)
    if where.as_json:
        show_json(found)
    elif not found:
        say("There are no such experiments." if where_ or deleted or project else "There are no experiments yet.")
    else:
        show_table(
            ["Project", "Number", "Experiment", "Changed (UTC)", "Made (UTC)", "By"],
            [
                (one.project, one.id, _short(one.name), moment(one.updated_at), moment(one.created_at), one.created_by)
                for one in found
            ],
        )
        say_link(where, f"/runs?project={_quoted(project)}" if project else "/runs")


@runs.command
def delete(run_ids: _RunIds, /, *, where: Anywhere = ANYWHERE) -> None:
    """Delete runs: they are hidden, and kept until storage is freed."""
    with connected(where) as client:
        for run_id in run_ids:
            client.tracking.delete_run(run_id=run_id)
            if not where.as_json:
                say(f"{run_id} is deleted. `undrift runs restore {run_id}` brings it back.")
    if where.as_json:
        show_json({"deleted": run_ids})


@runs.command
def restore(run_ids: _RunIds, /, *, where: Anywhere = ANYWHERE) -> None:
    """Bring deleted runs back."""
    with connected(where) as client:
        for run_id in run_ids:
            client.tracking.restore_run(run_id=run_id)
            if not where.as_json:
                say(f"{run_id} is back.")
    if where.as_json:
        show_json({"restored": run_ids})


def hub_address(where: Anywhere) -> str:
    """Return the address of the hub that shows what is looked at; empty when none is known to run.

    A hub that `undrift up` has started is found by the processes of this machine; one started in another way is not.
    """
    if where.hub is not None:
        return where.hub.rstrip("/")
    from undrift.processes import role_holder

    holder = role_holder(workspace_folder(where), "up")
    if holder is None:
        return ""
    try:
        children = Path(f"/proc/{holder}/task/{holder}/children").read_text(encoding="ascii").split()
        for child in children:
            words = Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if "hub" in words and "--port" in words:
                return f"http://127.0.0.1:{int(words[words.index('--port') + 1])}"
    except (OSError, ValueError, IndexError):
        pass
    return ""


def say_link(where: Anywhere, path: str) -> None:
    """Print where a hub shows the same, when one runs."""
    if hub := hub_address(where):
        say(f"\n{hub}{path}")


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _projects(client: Client) -> list[str]:
    known = {*client.tracking.list_projects(), *(one.model.project for one in client.registry.list_models())}
    return sorted(project for project in known if project)


def _only_project(client: Client, project: str | None) -> str:
    if project is not None:
        return project
    known = _projects(client)
    if len(known) != 1:
        raise Invalid(
            f"There are several projects: {', '.join(known)}." if known else "There is no project yet.",
            next_step="Say which with --project.",
        )
    return known[0]


def _experiment(client: Client, project: str | None, name: str) -> Experiment:
    found: dict[str, Experiment] = {}
    known: list[tuple[str, str]] = []
    for one in [project] if project else _projects(client):
        try:
            found[one] = client.tracking.find_experiment(project=one, name=name)
        except NotFound:
            page = client.tracking.search_experiments(project=one, limit=10)
            known.extend((one, experiment.name) for experiment in page.experiments)
    return found[pick_project([*((one, name) for one in found), *known], "experiment", name, project)]


def _read_columns(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the metrics and the parameters that are named."""
    kinds: dict[str, list[str]] = {"metric": [], "parameter": []}
    words = {"metrics": "metric", "parameters": "parameter", "params": "parameter", "metric": "metric"}
    for column in filter(None, (one.strip() for one in text.split(","))):
        word, dot, name = column.partition(".")
        if not (dot and name and word in words):
            raise Invalid(
                f"{column!r} is no column.", next_step="Write metrics.NAME or parameters.NAME, with commas between."
            )
        kinds[words[word]].append(name)
    return tuple(dict.fromkeys(kinds["metric"])), tuple(dict.fromkeys(kinds["parameter"]))


def _usual(client: Client, experiment: Experiment | None) -> tuple[str, ...]:
    """Return the metrics to show when none are named: those of the model before those of the machine."""
    if experiment is None:
        return ()
    names = client.tracking.list_metrics(experiment_id=experiment.id, limit=60)
    return tuple(sorted(names, key=lambda name: name.startswith(_ASIDE))[:_SHOWN])


def _short(value: object, most: int = 60) -> str:
    import msgspec

    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= most else text[: most - 1] + "…"


def _value(run: Run, name: str) -> str:
    if name not in run.metrics:
        return ""
    value = run.metrics[name]
    return "not a number" if value is None else number(value)


def _took(run: Run) -> str:
    return "" if run.ended_at is None else duration(run.ended_at - run.started_at)


def _metrics(run: Run) -> str:
    names = sorted(run.metrics, key=lambda name: (name.startswith(_ASIDE), name))
    said = ", ".join(f"{name} {_value(run, name)}" for name in names[:_SHOWN])
    return said if len(names) <= _SHOWN else f"{said}, and {len(names) - _SHOWN:,} more"


def _show(run: Run) -> None:
    show_fields(
        [
            ("Run", run.id),
            ("Name", run.name),
            ("Project", run.project),
            ("Experiment", run.experiment),
            ("Kind", run.kind),
            ("Status", run.status if run.state == "active" else f"{run.status}, deleted"),
            ("Error", run.error),
            ("Started", f"{moment(run.started_at)} UTC by {run.user or run.actor}"),
            ("Ended", "" if run.ended_at is None else f"{moment(run.ended_at)} UTC"),
            ("Part of", run.parent_id),
        ]
    )
    values = {name: _value(run, name) for name in run.metrics}
    for heading, pairs in (("Parameters", run.parameters), ("Metrics", values), ("Tags", run.tags)):
        if pairs:
            say(f"\n{heading}")
            show_fields((f"  {name}", value) for name, value in sorted(pairs.items())[:_LISTED])
            if len(pairs) > _LISTED:
                say(f"  and {len(pairs) - _LISTED:,} more; --json has them all")
    if run.links:
        say("\nInputs and outputs")
        show_table(["Role", "Kind", "Name", "Ref"], [(one.role, one.kind, one.name, one.ref) for one in run.links])
