"""`undrift import` and `undrift export`: in from other systems, and out into an archive that anybody can read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from undrift.cli.options import HERE, Local, opened
from undrift.cli.output import clean, say, show_json, show_table

if TYPE_CHECKING:
    from undrift.exchange import Report, Source

__all__ = ["export", "import_"]

import_ = App(
    name="import",
    group_commands="Commands",
    help="Bring in what another system has recorded, with its ids and times; doing it again adds only what is new.",
)

_Project = Annotated[str, Parameter(help="Into this project.")]
_Artifacts = Annotated[
    Path | None, Parameter(help="Folder that holds the artifacts, where the store keeps them elsewhere.")
]


@import_.command
def mlflow(
    uri: Annotated[
        str, Parameter(help="A folder (./mlruns), a database (sqlite:///mlflow.db), or the address of a server.")
    ],
    /,
    *,
    project: _Project = "default",
    artifacts: _Artifacts = None,
    where: Local = HERE,
) -> None:
    """Bring in everything that MLflow has: experiments, runs, points, files, models, versions, aliases."""
    from undrift.exchange import open_mlflow

    _bring(lambda report: open_mlflow(uri, report, artifacts), uri, project, where)


@import_.command
def wandb(
    folder: Annotated[Path, Parameter(help="A run's folder, or a folder of them.")],
    /,
    *,
    project: _Project = "default",
    where: Local = HERE,
) -> None:
    """Bring in runs of Weights & Biases: config, history as exported, summary, files."""
    from undrift.exchange.wandb import WandbExport

    _bring(lambda report: WandbExport(folder, report), str(folder), project, where)


@import_.command
def neptune(
    folder: Annotated[Path, Parameter(help="What neptune-exporter wrote: its --data-path.")],
    /,
    *,
    files: Annotated[Path | None, Parameter(help="Its --files-path; `files` beside the data when left out.")] = None,
    project: _Project = "default",
    where: Local = HERE,
) -> None:
    """Bring in runs of Neptune from an export of neptune-exporter."""
    from undrift.exchange.neptune import NeptuneExport

    _bring(lambda report: NeptuneExport(folder, report, files), str(folder), project, where)


@import_.command
def archive(
    folder: Annotated[Path, Parameter(help="What `undrift export` wrote.")],
    /,
    *,
    project: Annotated[str | None, Parameter(help="Into this project; the archive's own name when left out.")] = None,
    where: Local = HERE,
) -> None:
    """Bring in an archive of undrift, whole, with all its histories."""
    from undrift.exchange import Here, Report, import_archive, read_manifest

    name = project or read_manifest(folder).project
    with opened(where) as workspace:
        report = import_archive(Here(workspace.context, name), folder, Report(str(folder), name), _tell)
    _show(report, where)


def export(
    project: Annotated[str, Parameter(help="Which project.")],
    folder: Annotated[Path, Parameter(help="A new folder.")],
    /,
    *,
    where: Local = HERE,
) -> None:
    """Write everything that a project has recorded into a folder, in open formats."""
    from undrift.exchange import Here, export_project

    with opened(where) as workspace:
        manifest = export_project(Here(workspace.context, project), folder, _tell)
    if where.as_json:
        show_json(manifest)
        return
    show_table(["File", "Rows", "Bytes"], [(name, one.rows, one.size_bytes) for name, one in manifest.files.items()])
    say(f"{manifest.objects} objects of {manifest.objects_bytes} bytes. Everything is in {folder}.")


def _bring(make: Callable[[Report], Source], place: str, project: str, where: Local) -> None:
    from undrift.exchange import Here, Report, bring_in

    with opened(where) as workspace:
        report = Report(place, project)
        source = make(report)
        try:
            report.source = source.label
            bring_in(source, Here(workspace.context, project), report, _tell)
        finally:
            source.close()
    _show(report, where)


def _tell(line: str) -> None:
    print(clean(line), file=sys.stderr, flush=True)


def _show(report: Report, where: Local) -> None:
    if where.as_json:
        show_json(report)
        return
    show_table(["What", "Found", "New"], [(what, one.found, one.added) for what, one in report.counts.items()])
    if report.problems:
        say(f"{len(report.problems) + report.left_out} could not be brought in:")
        show_table(["What", "Which", "Why"], [(one.what, one.name, one.reason) for one in report.problems])
    else:
        say("Everything came in.")
