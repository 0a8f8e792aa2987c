"""`undrift runs`: what was executed, what went in and what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from undrift.cli.options import ANYWHERE, Anywhere, connected
from undrift.cli.output import duration, moment, number, say, show_fields, show_json, show_table
from undrift.cli.sync import sync

if TYPE_CHECKING:
    from undrift.tracking import Run

__all__ = ["runs"]

runs = App(name="runs", group_commands="Commands")
runs.command(sync)


@runs.default
def look(
    run_id: Annotated[str | None, Parameter(help="Show this run; all are listed when left out.")] = None,
    /,
    *,
    project: Annotated[str | None, Parameter(help="Only those of this project.")] = None,
    experiment: Annotated[str | None, Parameter(help="Only those of this experiment.")] = None,
    limit: Annotated[int, Parameter(help="At most so many, newest first.")] = 20,
    where: Anywhere = ANYWHERE,
) -> None:
    """List runs, or show one."""
    with connected(where) as client:
        if run_id is not None:
            run = client.tracking.find_run(run_id=run_id)
            show_json(run) if where.as_json else _show(run)
            return
        found = client.tracking.list_runs(project=project, experiment=experiment, limit=limit)
    if where.as_json:
        show_json(found)
    elif not found:
        say("There are no runs yet.")
    else:
        show_table(
            ["Run", "Experiment", "Status", "Started (UTC)", "Took", "Metrics"],
            [
                (
                    run.id,
                    f"{run.project}/{run.experiment}",
                    run.status,
                    moment(run.started_at),
                    _took(run),
                    _metrics(run),
                )
                for run in found
            ],
        )


def _took(run: Run) -> str:
    return "" if run.ended_at is None else duration(run.ended_at - run.started_at)


def _metrics(run: Run) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in sorted(run.metrics.items()))


def _show(run: Run) -> None:
    show_fields(
        [
            ("Run", run.id),
            ("Name", run.name),
            ("Project", run.project),
            ("Experiment", run.experiment),
            ("Kind", run.kind),
            ("Status", run.status),
            ("Error", run.error),
            ("Started", f"{moment(run.started_at)} UTC by {run.actor}"),
            ("Ended", "" if run.ended_at is None else f"{moment(run.ended_at)} UTC"),
            ("Part of", run.parent_id),
        ]
    )
    for heading, pairs in (("Parameters", run.parameters), ("Metrics", run.metrics), ("Tags", run.tags)):
        if pairs:
            say(f"\n{heading}")
            show_fields((f"  {name}", value) for name, value in sorted(pairs.items()))
    if run.links:
        say("\nInputs and outputs")
        show_table(["Role", "Kind", "Name", "Ref"], [(one.role, one.kind, one.name, one.ref) for one in run.links])
