"""Turns a project's declarations into what workers run, and keeps the code they were made with."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from undrift.blobs import Commit
from undrift.core.context import Context
from undrift.core.errors import Invalid, NotFound
from undrift.data import DatasetVersion, RegisterDataset, append, find_dataset, read_newest, register_dataset
from undrift.evaluation import NoSegmentWorseThan
from undrift.loop.deployment import Deployment
from undrift.loop.training import Recipe
from undrift.monitoring import Monitor, PerformanceWatch, Source
from undrift.project.declare import DatasetDeclaration, ModelDeclaration, Project

__all__ = ["Built", "build", "load_project", "snapshot_code"]


class Built(msgspec.Struct, frozen=True):
    """A project ready to run.

    Attributes:
        project: The declarations.
        deployments: By endpoint.
        refresh: Takes in what has become known up to a moment; returns the versions it made.
    """

    project: Project
    deployments: dict[str, Deployment]
    refresh: Callable[[Context, datetime], list[DatasetVersion]]


def build(ctx: Context, project: Project, *, code: str | None = None) -> Built:
    """Register a project's datasets and make its deployments.

    Args:
        ctx: Who, where.
        project: The declarations.
        code: Commit of the code, from `snapshot_code`.

    Raises:
        Invalid: A gate or a watch does not fit its model.
        Conflict: A dataset has another key or other time columns than it was registered with.
    """
    for model in project.models.values():
        _check_fits(model)
    for dataset in project.datasets.values():
        register_dataset(
            ctx,
            RegisterDataset(project.name, dataset.name, dataset.key, dataset.time, dataset.known_at, dataset.owner),
        )

    def refresh(ctx: Context, until: datetime) -> list[DatasetVersion]:
        made = (_refresh(ctx, project.name, dataset, until) for dataset in project.datasets.values())
        return [version for version in made if version is not None]

    def refresh_quietly(ctx: Context, until: datetime) -> None:
        refresh(ctx, until)

    return Built(
        project,
        {model.endpoint: _deployment(project, model, refresh_quietly, code) for model in project.models.values()},
        refresh,
    )


def load_project(path: Path) -> Project:
    """Run a project file and return the project it declares.

    Raises:
        NotFound: There is no such file.
        Invalid: It fails, or declares no project or several.
    """
    if not path.is_file():
        raise NotFound(
            f"There is no project file {path}.", next_step="Name one in workspace.json, or run `undrift init`."
        )
    name = f"undrift_project_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Invalid(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Invalid(f"{path} fails: {type(error).__name__}: {error}", next_step="Mend it and start again.") from error
    # One project may have several names.
    found = list({id(value): value for value in vars(module).values() if isinstance(value, Project)}.values())
    if len(found) != 1:
        raise Invalid(f"{path} declares {len(found)} projects; one is needed.", next_step="Assign one ud.Project(...).")
    return found[0]


def snapshot_code(ctx: Context, project: str, folder: Path, pattern: str = "*.py") -> str:
    """Keep the files of a project's code as a version in the store and return its commit.

    The same code again gives the same version.
    """
    ref = f"projects/{project}/code"
    files = {str(path.relative_to(folder)): path for path in sorted(folder.glob(pattern)) if path.is_file()}
    tree = ctx.repository.trees.edit(None, files)
    try:
        newest: str | None = ctx.repository.refs.read(ref)
    except NotFound:
        newest = None
    if newest is not None and ctx.repository.commits.read(newest).tree == tree:
        return newest
    commit = ctx.repository.commits.write(
        Commit(
            tree=tree,
            parents=() if newest is None else (newest,),
            author=ctx.actor.name,
            message=f"Code of {project}",
            time=ctx.now(),
        )
    )
    ctx.repository.refs.move(ref, newest, commit)
    return commit


def _check_fits(model: ModelDeclaration) -> None:
    """Refuse what would be found out only when a second version is to be judged, months later."""
    taken = [*model.inputs, *(name for view in model.features for name in view.features)]
    for gate in model.gate_list:
        if isinstance(gate, NoSegmentWorseThan) and gate.column not in taken:
            raise Invalid(
                f"A gate of model {model.name!r} looks at segments of {gate.column!r}, which is none of its inputs.",
                next_step=f"It takes {', '.join(taken)}.",
            )
    losses = {"classification": "log_loss", "regression": "mean_absolute_error"}
    watched = [watch.metric for watch in model.watch_list if isinstance(watch, PerformanceWatch)]
    judged = [gate.metric for gate in model.gate_list]
    wrong = [metric for metric in watched if metric != losses[model.task]]
    if model.task == "regression":
        wrong += [metric for metric in judged if metric != losses[model.task]]
    if wrong:
        raise Invalid(
            f"Model {model.name!r} is a {model.task}, which has no {wrong[0]}.", next_step=f"Use {losses[model.task]}."
        )


def _refresh(ctx: Context, project: str, dataset: DatasetDeclaration, until: datetime) -> DatasetVersion | None:
    if dataset.source is None:
        return None
    found = find_dataset(ctx, project, dataset.name)
    newest = read_newest(ctx, found)
    if newest is not None and newest.known_until >= until:
        return None
    frame = dataset.source(None if newest is None else newest.known_until, until)
    if frame.is_empty() and newest is not None:
        return None
    return append(ctx, found, frame, known_until=until, message=f"Known until {until.isoformat()}")


def _deployment(
    project: Project, model: ModelDeclaration, refresh: Callable[[Context, datetime], None], code: str | None
) -> Deployment:
    sources = {name: Source(model.data.name, model.data.owner) for name in model.inputs}
    for view in model.features:
        owner = project.datasets[view.dataset].owner
        sources |= {name: Source(view.dataset, owner) for name in view.features}
    return Deployment(
        recipe=Recipe(
            project=project.name,
            model=model.name,
            train=model.train,
            dataset=model.data.name,
            label=model.predicts,
            inputs=model.inputs,
            views=model.features,
            lead_s=model.lead_s,
            task=model.task,
            seed=model.seed,
            gates=model.gate_list,
            block_s=model.window_s,
            code=code,
        ),
        monitor=Monitor(
            endpoint=model.endpoint,
            project=project.name,
            model=model.name,
            owner=model.owner,
            task=model.task,
            window_s=model.window_s,
            label_wait_s=model.label_wait_s,
            watches=model.watch_list,
            sources=sources,
        ),
        retraining=model.retraining,
        rollout=model.rollout_plan,
        refresh=refresh,
    )
