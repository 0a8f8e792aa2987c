"""What MLflow's web page asks through GraphQL: experiments and runs, as the other routes tell of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from undrift import registry
from undrift.core.context import Context
from undrift.core.errors import Invalid, UndriftError
from undrift.hub.mlflow import experiments, metrics, runs
from undrift.hub.mlflow.errors import status_and_code
from undrift.hub.mlflow.graphql import Selected, parse, select
from undrift.hub.mlflow.messages import Message, loads, read
from undrift.hub.mlflow.registry import version_as_json
from undrift.hub.mlflow.routes import Answer, Request, Route

__all__ = ["ROUTES"]

_MOST_ROWS = 1_000
_PAIR = {"key": "String", "value": "String"}
_METRIC = {
    "key": "String",
    "value": "Float",
    "timestamp": "Long",
    "step": "Long",
    "datasetName": "String",
    "datasetDigest": "String",
    "modelId": "String",
    "runId": "String",
}
_TYPES: dict[str, dict[str, str]] = {
    "ApiError": {"code": "String", "message": "String", "helpUrl": "String", "traceId": "String"},
    "GetExperiment": {"experiment": "Experiment", "apiError": "ApiError"},
    "GetRun": {"run": "Run", "apiError": "ApiError"},
    "SearchRuns": {"runs": "[Run]", "nextPageToken": "String", "apiError": "ApiError"},
    "GetMetricHistoryBulkInterval": {"metrics": "[Metric]", "apiError": "ApiError"},
    "SearchDatasets": {"datasetSummaries": "[DatasetSummary]", "apiError": "ApiError"},
    "SearchModelVersions": {"modelVersions": "[ModelVersion]", "nextPageToken": "String", "apiError": "ApiError"},
    "Experiment": {
        "experimentId": "String",
        "name": "String",
        "artifactLocation": "String",
        "lifecycleStage": "String",
        "lastUpdateTime": "Long",
        "creationTime": "Long",
        "tags": "[Pair]",
        "effectiveTraceArchivalRetention": "String",
        "traceLocation": "String",
        "workspace": "String",
    },
    "Run": {
        "info": "RunInfo",
        "data": "RunData",
        "inputs": "RunInputs",
        "outputs": "RunOutputs",
        "experiment": "Experiment",
        "modelVersions": "[ModelVersion]",
    },
    "RunInfo": {
        "runId": "String",
        "runUuid": "String",
        "runName": "String",
        "experimentId": "String",
        "userId": "String",
        "status": "String",
        "startTime": "Long",
        "endTime": "Long",
        "artifactUri": "String",
        "lifecycleStage": "String",
    },
    "RunData": {"metrics": "[Metric]", "params": "[Pair]", "tags": "[Pair]"},
    "RunInputs": {"datasetInputs": "[DatasetInput]", "modelInputs": "[ModelInput]"},
    "RunOutputs": {"modelOutputs": "[ModelOutput]"},
    "DatasetInput": {"dataset": "Dataset", "tags": "[Pair]"},
    "Dataset": dict.fromkeys(("name", "digest", "sourceType", "source", "schema", "profile"), "String"),
    "DatasetSummary": dict.fromkeys(("experimentId", "name", "digest", "context"), "String"),
    "ModelInput": {"modelId": "String"},
    "ModelOutput": {"modelId": "String", "step": "Long"},
    "ModelVersion": {
        **dict.fromkeys(
            (
                "name",
                "version",
                "userId",
                "currentStage",
                "description",
                "source",
                "runId",
                "status",
                "statusMessage",
                "runLink",
                "modelId",
            ),
            "String",
        ),
        "creationTimestamp": "Long",
        "lastUpdatedTimestamp": "Long",
        "tags": "[Pair]",
        "aliases": "[String]",
    },
    "Metric": _METRIC,
    "Pair": _PAIR,
}


class SearchVersions(Message):
    """Which versions."""

    filter: str = ""
    max_results: int = _MOST_ROWS
    order_by: tuple[str, ...] = ()
    page_token: str = ""


def _versions(ctx: Context, project: str, asked: SearchVersions) -> dict[str, Any]:
    limit = max(1, min(asked.max_results, _MOST_ROWS))
    page = registry.search_versions(
        ctx, registry.SearchVersions(project, asked.filter, asked.order_by, limit, asked.page_token)
    )
    return {
        "model_versions": [version_as_json(one) for one in page.versions],
        "next_page_token": page.next_page_token,
    }


def _interval(ctx: Context, project: str, asked: metrics.Interval) -> dict[str, Any]:
    return {"metrics": metrics.sampled_points(ctx, project, asked)}


_Resolver = tuple[str, type[Message], Callable[[Context, str, Any], dict[str, Any]]]
_ROOTS: dict[str, _Resolver] = {
    "mlflowGetExperiment": ("GetExperiment", experiments.ById, experiments.find),
    "mlflowGetRun": ("GetRun", runs.Get, runs.find),
    "mlflowSearchRuns": ("SearchRuns", runs.Search, runs.search),
    "mlflowGetMetricHistoryBulkInterval": ("GetMetricHistoryBulkInterval", metrics.Interval, _interval),
    "mlflowSearchDatasets": ("SearchDatasets", experiments.SearchDatasets, experiments.search_datasets),
    "mlflowSearchModelVersions": ("SearchModelVersions", SearchVersions, _versions),
}


async def _graphql(request: Request) -> Answer:
    asked = loads(await request.body())
    project = request.project

    def work(ctx: Context) -> bytes:
        found, errors = None, None
        try:
            found = _answer(ctx, project, asked if isinstance(asked, dict) else {})
        except Invalid as error:
            errors = [str(error)]
        return msgspec.json.encode({"data": found, "errors": errors})

    return Answer(await request.run(work))


def _answer(ctx: Context, project: str, asked: dict[str, Any]) -> dict[str, Any]:
    text, name, variables = asked.get("query"), asked.get("operationName"), asked.get("variables")
    if not isinstance(text, str):
        raise Invalid("Must provide query string.")
    roots = select(parse(text), name if isinstance(name, str) else "", variables if isinstance(variables, dict) else {})
    for root in roots:
        if root.name in _ROOTS:
            _check(root.fields, _ROOTS[root.name][0])
        elif root.name != "__typename":
            raise Invalid(f"Cannot query field {root.name[:80]!r} on type 'Query'.")
    answer: dict[str, Any] = {}
    for root in roots:
        if root.name == "__typename":
            answer[root.key] = "Query"
            continue
        kind, message, resolve = _ROOTS[root.name]
        try:
            found = resolve(ctx, project, read(message, root.arguments.get("input")))
        except UndriftError as error:
            status, code = status_and_code(error)
            if status >= 500:  # told as on every other route: logged, and without where things live
                raise
            found = {"api_error": {"code": code, "message": str(error)}}
        answer[root.key] = _Shown(ctx, project).shown(found, root.fields, kind)
    return answer


def _check(fields: list[Selected], kind: str) -> None:
    """Refuse what is not there, before anything is looked up."""
    known = _TYPES[kind]
    for field in fields:
        if field.name == "__typename":
            continue
        if field.name not in known:
            raise Invalid(f"Cannot query field {field.name[:80]!r} on type {kind!r}.")
        below = known[field.name].strip("[]")
        if (below in _TYPES) != bool(field.fields):
            need = "needs a selection of its fields" if below in _TYPES else "has no fields to select"
            raise Invalid(f"Field {field.name!r} of type {kind!r} {need}.")
        if field.fields:
            _check(field.fields, below)


class _Shown:
    """Shows what was found, by what was asked for."""

    def __init__(self, ctx: Context, project: str) -> None:
        self._ctx = ctx
        self._project = project
        self._experiments: dict[str, Any] = {}

    def shown(self, found: dict[str, Any], fields: list[Selected], kind: str) -> dict[str, Any]:
        """Return the fields of a thing that were asked for."""
        made: dict[str, Any] = {}
        for field in fields:
            if field.name == "__typename":
                made[field.key] = f"Mlflow{kind}"
                continue
            declared = _TYPES[kind][field.name]
            value = self._value(found, field.name, kind)
            if declared.startswith("["):
                below = declared.strip("[]")
                made[field.key] = [self._one(item, field, below) for item in value or ()]
            else:
                made[field.key] = self._one(value, field, declared)
        return made

    def _value(self, found: dict[str, Any], name: str, kind: str) -> Any:
        if kind == "Run" and name == "experiment":
            number = found["info"]["experiment_id"]
            if number not in self._experiments:
                asked = experiments.ById(number)
                self._experiments[number] = experiments.find(self._ctx, self._project, asked)["experiment"]
            return self._experiments[number]
        if kind == "Run" and name == "modelVersions":
            asked_versions = SearchVersions(f"run_id = '{found['info']['run_id']}'")
            return _versions(self._ctx, self._project, asked_versions)["model_versions"]
        return found.get(_snake(name))

    def _one(self, value: Any, field: Selected, kind: str) -> Any:
        if value is None:
            return None
        if kind in _TYPES:
            return self.shown(value, field.fields, kind)
        if kind == "Long":
            return str(value)
        if kind == "Float":
            return value if isinstance(value, int | float) and math.isfinite(value) else None
        return value


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


ROUTES = (Route(("POST",), "/graphql", "tracking:read", _graphql),)
