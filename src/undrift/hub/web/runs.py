"""What the pages of experiments and runs show, read through operations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid, TooLarge, UndriftError
from undrift.data import ListDatasets, list_datasets
from undrift.hub.web.asked import COLUMNS, CurvesAsked, ExperimentsAsked, RunAsked, RunsAsked
from undrift.hub.web.words import address
from undrift.registry import ListModels, ModelVersion, SearchVersions, list_models, search_versions
from undrift.tracking import (
    Experiment,
    FindExperiment,
    FindRun,
    LatestMetric,
    ListMetrics,
    ListProjects,
    LoggedModel,
    LoggedModelMetric,
    MetricHistory,
    Run,
    RunLink,
    RunPage,
    SampleHistories,
    SearchExperiments,
    SearchLoggedModels,
    SearchRuns,
    find_experiment,
    find_run,
    list_metrics,
    list_projects,
    metric_history,
    sample_histories,
    search_experiments,
    search_models,
    search_runs,
)
from undrift.tracking.artifacts import ArtifactPage, ListArtifacts, list_artifacts

__all__ = [
    "Choice",
    "Column",
    "ExperimentsView",
    "ProjectExperiments",
    "RunView",
    "RunsView",
    "artifact_address",
    "curves",
    "experiments_view",
    "known_runs",
    "run_address",
    "run_view",
    "runs_view",
    "usual_metrics",
]

_PARENT = "mlflow.parentRunId"
_PAGE = 50
_FEW = 8
_PROJECTS = 50
_USUAL = 5
_FOUND = 60
_SAMPLE = 5
_LISTED = 200
_CURVES = 4
_TRIED = 16
_POINTS = 1_000
_ALL_POINTS = 20_000
_CHILDREN = 50
_ARTIFACTS = 200
_MODELS = 50
_ASIDE = ("system/", "cost/")


class ProjectExperiments(msgspec.Struct, frozen=True):
    """Experiments of a project, and whether there are more."""

    project: str
    experiments: tuple[Experiment, ...]
    more: bool


class ExperimentsView(msgspec.Struct, frozen=True):
    """The experiments: of every project a few, or of one project a page.

    Attributes:
        asked: What was asked for.
        projects: By project; one of them when one was asked for.
        next_page: Where the next page begins; empty on the last.
        problem: What is wrong with the filter, and what to do about it.
    """

    asked: ExperimentsAsked
    projects: tuple[ProjectExperiments, ...]
    next_page: str = ""
    problem: tuple[str, str] | None = None


class Column(msgspec.Struct, frozen=True):
    """A column of the list of runs.

    Attributes:
        kind: ``metric`` or ``parameter``.
        name: Its name.
        rising: The order that has the smallest first.
        falling: The order that has the greatest first.
    """

    kind: str
    name: str
    rising: str
    falling: str

    @staticmethod
    def of(kind: str, name: str) -> Column:
        """Describe a column; no name that can be logged holds a backtick."""
        key = f"{kind}s.`{name}`"
        return Column(kind, name, f"{key} ASC", f"{key} DESC")


class Choice(msgspec.Struct, frozen=True):
    """A name that could be a column, and whether it is one."""

    kind: str
    name: str
    chosen: bool


class RunsView(msgspec.Struct, frozen=True):
    """The runs of an experiment.

    Attributes:
        experiment: The experiment.
        asked: What was asked for.
        runs: A page of them.
        columns: Which metrics and parameters are shown of them.
        choices: Names that could be shown, those that are first.
        more_choices: Whether there are more names than these.
        left_out: How many of the columns that were asked for find no room.
        next_page: Where the next page begins; empty on the last.
        problem: What is wrong with the filter or the order, and what to do about it.
    """

    experiment: Experiment
    asked: RunsAsked
    runs: tuple[Run, ...]
    columns: tuple[Column, ...]
    choices: tuple[Choice, ...]
    more_choices: bool
    left_out: int
    next_page: str
    problem: tuple[str, str] | None

    @property
    def path(self) -> str:
        """Where this page is."""
        return address("runs", self.experiment.project, self.experiment.id)

    def values_of(self, run: Run) -> dict[str, float]:
        """Return the newest values of a run, by metric."""
        return {one.name: one.value for one in run.latest}

    @property
    def orders(self) -> list[tuple[str, str]]:
        """Orders to choose from, and how to call them."""
        orders = [
            ("", "newest first"),
            ("start_time ASC", "oldest first"),
            ("run_name ASC", "by name"),
            ("status ASC", "by status"),
        ]
        for column in self.columns:
            orders += [
                (column.rising, f"smallest {column.name} first"),
                (column.falling, f"greatest {column.name} first"),
            ]
        if self.asked.order not in dict(orders):
            orders.append((self.asked.order, self.asked.order))
        return orders


class RunView(msgspec.Struct, frozen=True):
    """A run, with everything it logged.

    Attributes:
        run: The run.
        asked: What was asked for.
        parameters: Those that are listed.
        metrics: Those that are listed.
        tags: Those that are listed.
        code: Where its code comes from, by name; empty for what nobody has said.
        cost: What it used, by name.
        inputs: What it read.
        outputs: What it made.
        curves: Metrics that are drawn.
        children: Runs that are part of it.
        more_children: Whether there are more.
        parent: The run it is part of, when it is there.
        models: Logged models it made.
        more_models: Whether there are more.
        versions: Registered model versions that come from it.
        root: The run, or the logged model, whose artifacts are listed.
        artifacts: What lies in the folder that is listed.
        artifacts_problem: Why it cannot be listed.
        hub: The hub's address, as it was asked.
    """

    run: Run
    asked: RunAsked
    parameters: list[tuple[str, Any]]
    metrics: list[LatestMetric]
    tags: list[tuple[str, str]]
    code: dict[str, str]
    cost: dict[str, float]
    inputs: list[RunLink]
    outputs: list[RunLink]
    curves: list[str]
    children: tuple[Run, ...]
    more_children: bool
    parent: str
    models: tuple[LoggedModel, ...]
    more_models: bool
    versions: tuple[ModelVersion, ...]
    root: str
    artifacts: ArtifactPage
    artifacts_problem: str
    hub: str

    @property
    def path(self) -> str:
        """Where this page is."""
        return run_address(self.run.id)

    @property
    def listed(self) -> int:
        """How many of each kind are listed at most."""
        return _LISTED

    @property
    def tracking_uri(self) -> str:
        """The address that clients of MLflow use for the run's project."""
        return self.hub if self.run.project == "default" else f"{self.hub}/projects/{quote(self.run.project)}"

    @property
    def folders(self) -> list[tuple[str, str]]:
        """The folders above the one that is listed, by name and path, and itself."""
        parts = self.asked.folder.split("/") if self.asked.folder else []
        return [(part, "/".join(parts[: place + 1])) for place, part in enumerate(parts)]

    def measured(self, model: LoggedModel) -> list[LoggedModelMetric]:
        """Return the newest point of each metric of a logged model, whichever run and dataset it was measured with."""
        newest = {one.name: one for one in sorted(model.metrics, key=lambda one: (one.time_ms, one.step))}
        return [newest[name] for name in sorted(newest)]

    @property
    def drawn_as_json(self) -> dict[str, Any]:
        """What the script has to know of the curves."""
        runs = [{"id": self.run.id, "name": self.run.name, "link": self.path}]
        return {"runs": runs, "x": self.asked.x, "log": self.asked.log, "smooth": self.asked.smooth}


def run_address(run_id: str) -> str:
    """Return where a run is shown.

    >>> run_address("0" * 32)
    '/runs/00000000000000000000000000000000'
    """
    return address("runs", run_id)


def artifact_address(root: str, path: str) -> str:
    """Return where the bytes of an artifact are.

    >>> artifact_address("0" * 4, "plots/a b.png")
    '/api/v1/artifacts/0000/plots/a%20b.png'
    """
    return f"/api/v1/artifacts/{quote(root)}/{quote(path)}"


def known_runs(ctx: Context, project: str, run_ids: Iterable[str | None]) -> frozenset[str]:
    """Return those of these runs that are there."""
    return frozenset(_by_id(ctx, project, [run_id for run_id in run_ids if run_id and run_id.isalnum()], ()))


def experiments_view(ctx: Context, asked: ExperimentsAsked) -> ExperimentsView:
    """Read the experiments of a project, or a few of each project."""
    if not asked.project:
        found = []
        for project in _projects(ctx)[:_PROJECTS]:
            some = search_experiments(
                ctx, SearchExperiments(project, order_by=("last_update_time DESC",), view=asked.view, limit=_FEW)
            )
            if some.experiments:
                found.append(ProjectExperiments(project, some.experiments, bool(some.next_page_token)))
        return ExperimentsView(asked, tuple(found))
    request = SearchExperiments(
        asked.project, asked.filter, ("last_update_time DESC",), asked.view, _PAGE, page_token=asked.page
    )
    try:
        page = search_experiments(ctx, request)
    except (Invalid, TooLarge) as error:
        if not asked.filter:
            raise
        return ExperimentsView(
            asked, (ProjectExperiments(asked.project, (), more=False),), problem=(error.message, error.next_step)
        )
    one = ProjectExperiments(asked.project, page.experiments, bool(page.next_page_token))
    return ExperimentsView(asked, (one,), page.next_page_token)


def _projects(ctx: Context) -> list[str]:
    projects = set(list_projects(ctx, ListProjects()))
    projects |= {one.model.project for one in list_models(ctx, ListModels())}
    projects |= {one.dataset.project for one in list_datasets(ctx, ListDatasets())}
    return sorted(project for project in projects if project)


def runs_view(ctx: Context, project: str, experiment_id: int, asked: RunsAsked) -> RunsView:
    """Read a page of the runs of an experiment; its cost follows what it shows, not what there is.

    Raises:
        NotFound: There is no such experiment.
        Invalid: The page token is none that was given out.
    """
    experiment = find_experiment(ctx, FindExperiment(project, experiment_id))
    names = list_metrics(ctx, ListMetrics(experiment_id, asked.find, _FOUND + 1))
    is_chosen = asked.columns == "chosen"
    if is_chosen:
        metrics = asked.metric[:COLUMNS]
    else:
        usual = list_metrics(ctx, ListMetrics(experiment_id, "", _FOUND)) if asked.find else names
        metrics = usual_metrics(usual, _USUAL)
    request = SearchRuns(
        project,
        (experiment_id,),
        asked.filter,
        (asked.order,) if asked.order else (),
        asked.view,
        _PAGE,
        asked.page,
        metrics,
        asked.parameter[:COLUMNS] if is_chosen else (),
        (_PARENT,),
        latest=True,
    )
    page, problem = RunPage(()), None
    try:
        page = search_runs(ctx, request)
    except (Invalid, TooLarge) as error:
        if not (asked.filter or asked.order):
            raise
        problem = (error.message, error.next_step)
    found = page.runs
    ids = [run.id for run in found]
    # A search costs more than looking up what it found: the parameters there are come from its first runs.
    parameters = _parameter_names(_by_id(ctx, project, ids[:_SAMPLE], None).values())
    chosen = asked.parameter[:COLUMNS] if is_chosen else tuple(parameters[:_USUAL])
    if not is_chosen and chosen:
        said = _by_id(ctx, project, ids, chosen)
        found = tuple(msgspec.structs.replace(run, parameters=said[run.id].parameters) for run in found)
    columns = (
        *(Column.of("metric", name) for name in metrics),
        *(Column.of("parameter", name) for name in chosen),
    )
    others = [name for name in parameters if asked.find.lower() in name.lower() and name not in chosen]
    choices = (
        *(Choice("metric", name, chosen=True) for name in metrics),
        *(Choice("parameter", name, chosen=True) for name in chosen),
        *(Choice("metric", name, chosen=False) for name in names[:_FOUND] if name not in metrics),
        *(Choice("parameter", name, chosen=False) for name in others[:_FOUND]),
    )
    left_out = max(0, len(asked.metric) - COLUMNS) + max(0, len(asked.parameter) - COLUMNS)
    return RunsView(
        experiment=experiment,
        asked=asked,
        runs=found,
        columns=columns,
        choices=choices,
        more_choices=len(names) > _FOUND or len(others) > _FOUND,
        left_out=left_out if is_chosen else 0,
        next_page=page.next_page_token,
        problem=problem,
    )


def _by_id(ctx: Context, project: str, run_ids: Sequence[str], parameters: tuple[str, ...] | None) -> dict[str, Run]:
    """Return runs that are there with these parameters, all when left out, and nothing else."""
    if not run_ids:
        return {}
    listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
    nothing: tuple[str, ...] = ()
    asked = SearchRuns(
        project, None, f"run_id IN ({listed})", (), "all", len(run_ids), "", nothing, parameters, nothing, latest=False
    )
    return {run.id: run for run in search_runs(ctx, asked).runs}


def usual_metrics(names: Sequence[str], most: int) -> tuple[str, ...]:
    """Return the metrics to show where nobody has chosen: those of the model before those of the machine.

    >>> usual_metrics(["auc", "cost/money", "loss", "system/cpu_percent"], 3)
    ('auc', 'loss', 'cost/money')
    """
    return tuple(sorted(names, key=lambda name: name.startswith(_ASIDE))[:most])


def _parameter_names(runs: Iterable[Run]) -> list[str]:
    """Return the names of the parameters of runs, those that differ between them first."""
    seen: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run.parameters.items():
            seen.setdefault(name, set()).add(repr(value))
    return sorted(seen, key=lambda name: (len(seen[name]) < 2, name))


def run_view(ctx: Context, run_id: str, asked: RunAsked, hub: str) -> RunView:
    """Read the page of a run.

    Raises:
        NotFound: There is no such run.
    """
    run = find_run(ctx, FindRun(run_id, latest=True))
    models = search_models(
        ctx, SearchLoggedModels(run.project, (run.experiment_id,), f"source_run_id = '{run.id}'", limit=_MODELS)
    )
    versions = search_versions(ctx, SearchVersions(run.project, f"run_id = '{run.id}'", max_results=_MODELS))
    artifacts, problem = ArtifactPage(()), ""
    root = asked.model or run.id
    if root in {run.id, *(model.id for model in models.models)}:
        try:
            artifacts = list_artifacts(ctx, ListArtifacts(root, asked.folder, after=asked.after, limit=_ARTIFACTS))
        except UndriftError as error:
            problem = error.message
    else:
        problem = "No model that this run made and that is listed here has this id."
    nothing: tuple[str, ...] = ()
    children = search_runs(
        ctx,
        SearchRuns(
            run.project,
            filter=f"tags.`{_PARENT}` = '{run.id}'",
            order_by=("start_time ASC",),
            limit=_CHILDREN,
            metrics=nothing,
            parameters=nothing,
            tags=nothing,
        ),
    )
    parent = run.parent_id or run.tags.get(_PARENT, "")
    wanted = asked.find.lower()
    return RunView(
        run=run,
        asked=asked,
        parameters=[(name, value) for name, value in sorted(run.parameters.items()) if wanted in name.lower()],
        metrics=[one for one in run.latest if wanted in one.name.lower()],
        tags=[(name, value) for name, value in sorted(run.tags.items()) if wanted in name.lower()],
        code=_code(run),
        cost={one.name: one.value for one in run.latest if one.name.startswith("cost/")},
        inputs=[one for one in run.links if one.role == "input"],
        outputs=[one for one in run.links if one.role == "output"],
        curves=list(asked.metric[:COLUMNS] or _drawn(ctx, run)),
        children=children.runs,
        more_children=bool(children.next_page_token),
        parent=parent if parent and parent in known_runs(ctx, run.project, [parent]) else "",
        models=models.models,
        more_models=bool(models.next_page_token),
        versions=versions.versions,
        root=root,
        artifacts=artifacts,
        artifacts_problem=problem,
        hub=hub,
    )


def _drawn(ctx: Context, run: Run) -> list[str]:
    """Return the metrics whose curves are drawn where nobody has chosen: those that have more than one point."""
    # A metric that was logged once at the end of training has a step, too: only its history tells.
    stepped = [one.name for one in run.latest if one.step > 0 and not one.name.startswith(_ASIDE)]
    drawn: list[str] = []
    for name in stepped[:_TRIED]:
        if len(metric_history(ctx, MetricHistory(run.id, name, limit=2)).values) > 1:
            drawn.append(name)
        if len(drawn) == _CURVES:
            break
    return drawn


def _code(run: Run) -> dict[str, str]:
    """Return where the code of a run comes from, in the words of whoever recorded it."""
    said = {
        "commit": ("undrift.git_commit", "mlflow.source.git.commit"),
        "branch": ("undrift.git_branch", "mlflow.source.git.branch"),
        "repository": ("undrift.git_remote", "mlflow.source.git.repoURL"),
        "uncommitted changes": ("undrift.git_dirty",),
        "started from": ("mlflow.source.name",),
    }
    found = {label: next((run.tags[name] for name in names if run.tags.get(name)), "") for label, names in said.items()}
    found["uncommitted changes"] = {"true": "yes", "false": "none"}.get(found["uncommitted changes"], "")
    return found


def curves(ctx: Context, asked: CurvesAsked) -> dict[str, Any]:
    """Return points of a metric of some runs for the script of a page, at most 1,000 of each run.

    Raises:
        TooLarge: More than 100 runs.
        NotFound: No run can have one of these ids.
    """
    limit = min(_POINTS, _ALL_POINTS // max(1, len(asked.run)))
    found = sample_histories(ctx, SampleHistories(asked.run, asked.metric, limit))
    return {
        "metric": asked.metric,
        "limit": limit,
        "curves": [
            {"run": one.run_id, "steps": one.steps, "times": one.times_ms, "values": [_digits(v) for v in one.values]}
            for one in found
        ],
    }


def _digits(value: Any) -> Any:
    # More digits than a screen can show would only cost bytes.
    with suppress(TypeError, ValueError):
        return float(f"{value:.9g}") if math.isfinite(value) else value
    return value
