"""MLflow's server, read page by page over its REST protocol."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from undrift.core.errors import Forbidden, Invalid, NotFound, Unavailable
from undrift.exchange.mlflow_files import Pieces, model_id_of, number_of, text_of
from undrift.exchange.model import (
    Report,
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceRegistered,
    SourceRun,
    SourceVersion,
)
from undrift.tracking import DatasetUse, LoggedDataset, MetricSeries
from undrift.tracking.artifacts import check_artifact_path

__all__ = ["Server"]

_EXPERIMENTS = 1_000
_RUNS = 500
_POINTS = 25_000
_MODELS = 500
_TRIES = 4
_BUSY = frozenset({429, 502, 503, 504})
_MODEL_STATUSES = {"LOGGED_MODEL_PENDING": "pending", "LOGGED_MODEL_UPLOAD_FAILED": "upload_failed"}
_DEEP = 100


class Server:
    """A server of MLflow.

    Args:
        url: Its address; a path, such as ``/projects/flights``, is kept.
        report: Takes what cannot be read.

    Raises:
        Unavailable: It does not answer.
        Invalid: What answers is no MLflow.
    """

    def __init__(self, url: str, report: Report) -> None:
        import httpx  # noqa: PLC0415 - only for servers

        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._base = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self.label = f"MLflow's server {self._base}"
        self._report = report
        self._errors = (httpx.TransportError,)
        # The names under which MLflow's own client looks for them.
        user, secret = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        auth = (parts.username, parts.password or "") if parts.username else (user, secret or "") if user else None
        headers = {"Authorization": f"Bearer {token}"} if token and auth is None else {}
        self._http = httpx.Client(auth=auth, headers=headers, timeout=120, follow_redirects=False)
        self._models: dict[str, list[dict[str, Any]]] = {}
        self._keys: dict[str, list[str]] = {}
        try:
            self._call("POST", "mlflow/experiments/search", {"max_results": 1, "view_type": "ALL"})
        except NotFound:
            self.close()
            raise Invalid(f"{self._base} is no server of MLflow.", next_step="Give its tracking address.") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, method: str, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Call an endpoint; tried again when the server is busy or away for a moment.

        Raises:
            NotFound: There is no such endpoint or thing.
            Forbidden: The credentials are missing or not enough.
            Invalid: The server refuses the request, or fails at it each time.
            Unavailable: It does not answer.
        """
        import time  # noqa: PLC0415 - as httpx

        url = f"{self._base}/api/2.0/{path}"
        said = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(0.5 * 2**attempt)
            try:
                if method == "GET":
                    answer = self._http.get(url, params=fields)
                else:
                    answer = self._http.request(method, url, json=fields)
            except self._errors as error:
                said = type(error).__name__
                continue
            if answer.status_code in _BUSY or (answer.status_code == 500 and attempt < _TRIES - 1):
                said = f"status {answer.status_code}"
                continue
            try:
                found = answer.json()
            except ValueError:
                found = None
            if answer.is_success and isinstance(found, dict):
                return found
            message = text_of(found.get("message")) if isinstance(found, dict) else answer.text
            if answer.status_code in {401, 403}:
                raise Forbidden(
                    f"{self._base} refuses: {message[:300]}",
                    next_step="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
                )
            kind = NotFound if answer.status_code == 404 else Invalid
            raise kind(f"{self._base} answered {answer.status_code} to {path}: {message[:300]}")
        raise Unavailable(f"{self._base} did not answer ({said}).", next_step="Check the address, or try again.")

    def _pages(self, method: str, path: str, fields: dict[str, Any], what: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._call(method, path, fields | ({"page_token": token} if token else {}))
            for one in page.get(what) or ():
                if isinstance(one, dict):
                    yield one
            following = text_of(page.get("next_page_token"))
            # A server that gives the same page for ever must not keep us for ever.
            if not following or following == token:
                return
            token = following

    def experiments(self) -> Iterator[SourceExperiment]:
        """Give all experiments, also deleted ones."""
        fields = {"max_results": _EXPERIMENTS, "view_type": "ALL", "order_by": ["experiment_id ASC"]}
        for one in self._pages("POST", "mlflow/experiments/search", fields, "experiments"):
            created = number_of(one.get("creation_time"))
            yield SourceExperiment(
                id=text_of(one.get("experiment_id")),
                name=text_of(one.get("name")),
                created_ms=created,
                updated_ms=number_of(one.get("last_update_time"), created),
                state="deleted" if one.get("lifecycle_stage") == "deleted" else "active",
                tags=_words(one.get("tags")),
            )

    def models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        """Give the logged models of an experiment; the protocol does not show deleted ones."""
        self._models = {}
        fields = {"experiment_ids": [experiment.id], "max_results": _MODELS}
        try:
            pages = list(self._pages("POST", "mlflow/logged-models/search", fields, "models"))
        except (NotFound, Invalid):  # a server older than logged models
            return
        for one in pages:
            info, data = one.get("info") or {}, one.get("data") or {}
            for metric in data.get("metrics") or ():
                self._models.setdefault(text_of(metric.get("run_id")), []).append(
                    metric | {"model_id": text_of(info.get("model_id"))}
                )
            created = number_of(info.get("creation_timestamp_ms"))
            yield SourceModel(
                id=text_of(info.get("model_id")),
                experiment_id=experiment.id,
                name=text_of(info.get("name")),
                created_ms=created,
                updated_ms=number_of(info.get("last_updated_timestamp_ms"), created),
                type=text_of(info.get("model_type")),
                source_run_id=text_of(info.get("source_run_id")),
                status=_MODEL_STATUSES.get(text_of(info.get("status")), "ready"),  # type: ignore[arg-type]
                status_message=text_of(info.get("status_message")),
                parameters=_words(data.get("params")),
                tags=_words(info.get("tags")),
                location=text_of(info.get("artifact_uri")),
            )

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        """Give the runs of an experiment, also deleted ones."""
        fields = {
            "experiment_ids": [experiment.id],
            "run_view_type": "ALL",
            "max_results": _RUNS,
            "order_by": ["attributes.start_time ASC"],
        }
        self._keys = {}
        for found in self._pages("POST", "mlflow/runs/search", fields, "runs"):
            # The search leaves out which models a run read and made.
            asked = {"run_id": text_of((found.get("info") or {}).get("run_id"))}
            try:
                one = self._call("GET", "mlflow/runs/get", asked).get("run") or found
            except (NotFound, Invalid) as error:
                self._report.refuse("links", asked["run_id"], error.message)
                one = found
            info, data = one.get("info") or {}, one.get("data") or {}
            inputs, outputs = one.get("inputs") or {}, one.get("outputs") or {}
            id_ = text_of(info.get("run_id") or info.get("run_uuid"))
            tags = _words(data.get("tags"))
            ended = info.get("end_time")
            self._keys[id_] = [text_of(metric.get("key")) for metric in data.get("metrics") or ()]
            yield SourceRun(
                id=id_,
                experiment_id=experiment.id,
                name=text_of(info.get("run_name")) or tags.get("mlflow.runName", ""),
                status=text_of(info.get("status")).lower(),
                started_ms=number_of(info.get("start_time")),
                ended_ms=None if ended is None else number_of(ended),
                state="deleted" if info.get("lifecycle_stage") == "deleted" else "active",
                user=text_of(info.get("user_id")),
                parent_id=tags.get("mlflow.parentRunId"),
                parameters=_words(data.get("params")),
                tags=tags,
                datasets=tuple(_use(given) for given in inputs.get("dataset_inputs") or ()),
                model_inputs=tuple(text_of(given.get("model_id")) for given in inputs.get("model_inputs") or ()),
                model_outputs=tuple(
                    (text_of(given.get("model_id")), number_of(given.get("step")))
                    for given in outputs.get("model_outputs") or ()
                ),
                location=text_of(info.get("artifact_uri")),
            )

    def points(self, run: SourceRun) -> Iterator[MetricSeries]:
        """Give the points of a run; the protocol names the model only of the newest ones."""
        of_models: dict[tuple[str, int, int, str], list[tuple[str, str, str]]] = {}
        for metric in self._models.get(run.id, ()):
            key = (text_of(metric.get("key")), *_point(metric))
            measured = tuple(text_of(metric.get(name)) for name in ("model_id", "dataset_name", "dataset_digest"))
            of_models.setdefault(key, []).append(measured)  # type: ignore[arg-type]
        for name in self._keys.pop(run.id, ()):
            pieces = Pieces()
            fields = {"run_id": run.id, "metric_key": name, "max_results": _POINTS}
            for metric in self._pages("GET", "mlflow/metrics/get-history", fields, "metrics"):
                step, time_ms, bits = _point(metric)
                value = float.fromhex(bits)
                # MLflow's database cannot hold NaN for models: it says 0 there.
                there = of_models.get((name, step, time_ms, bits))
                if there is None and math.isnan(value):
                    there = of_models.get((name, step, time_ms, (0.0).hex()))
                for measured in there or [("", "", "")]:
                    if full := pieces.add((name, *measured), step, time_ms, value):
                        yield full
            yield from pieces.rest()

    def registered(self) -> Iterator[SourceRegistered]:
        """Give the registered models; prompts, which are no models, are asked for apart."""
        seen = set()
        for wanted in ("", "tags.`mlflow.prompt.is_prompt` = 'true'"):
            fields = {"max_results": _MODELS} | ({"filter": wanted} if wanted else {})
            for one in self._pages("GET", "mlflow/registered-models/search", fields, "registered_models"):
                name = text_of(one.get("name"))
                if name in seen:
                    continue
                seen.add(name)
                # The search leaves aliases out of some answers.
                one = self._call("GET", "mlflow/registered-models/get", {"name": name}).get("registered_model") or one  # noqa: PLW2901
                created = number_of(one.get("creation_timestamp"))
                yield SourceRegistered(
                    name=name,
                    created_ms=created,
                    updated_ms=number_of(one.get("last_updated_timestamp"), created),
                    description=text_of(one.get("description")),
                    tags=_words(one.get("tags")),
                    aliases={
                        text_of(alias.get("alias")): number_of(alias.get("version"))
                        for alias in one.get("aliases") or ()
                    },
                    versions=tuple(sorted(self._versions(name, prompt=bool(wanted)), key=lambda found: found.number)),
                )

    def _versions(self, name: str, *, prompt: bool) -> Iterator[SourceVersion]:
        quoted = name.replace("'", "\\'") if '"' in name else name
        wanted = f'name="{quoted}"' if "'" in name else f"name='{name}'"
        if prompt:
            wanted += " AND tags.`mlflow.prompt.is_prompt` = 'true'"
        fields = {"filter": wanted, "max_results": 10_000}
        for one in self._pages("GET", "mlflow/model-versions/search", fields, "model_versions"):
            created = number_of(one.get("creation_timestamp"))
            source = text_of(one.get("source"))
            yield SourceVersion(
                number=number_of(one.get("version")),
                created_ms=created,
                updated_ms=number_of(one.get("last_updated_timestamp"), created),
                source=source,
                run_id=text_of(one.get("run_id")),
                run_link=text_of(one.get("run_link")),
                model_id=text_of(one.get("model_id")) or model_id_of(source),
                user=text_of(one.get("user_id")),
                stage=text_of(one.get("current_stage")) or "None",
                status=text_of(one.get("status")) or "READY",
                description=text_of(one.get("description")),
                tags=_words(one.get("tags")),
            )

    # --- Files ---

    def files(self, owner: SourceRun | SourceModel | SourceVersion) -> Iterator[SourceFile]:
        """Give the files of a run, a logged model or a version, read through the server."""
        uri = owner.source if isinstance(owner, SourceVersion) else owner.location
        parts = urlsplit(uri)
        path = parts.path.strip("/")
        mark = "api/2.0/mlflow-artifacts/artifacts/"
        if parts.scheme == "mlflow-artifacts":
            yield from self._proxied(path)
        elif parts.scheme in {"http", "https"} and mark in path and f"{parts.scheme}://{parts.netloc}" in self._base:
            yield from self._proxied(path.partition(mark)[2])
        elif isinstance(owner, SourceRun):
            # Kept where only the server may reach it; it hands the files of runs out itself.
            yield from self._handed_out(owner.id)
        elif uri:
            name = owner.id if isinstance(owner, SourceModel) else f"version {owner.number}"
            self._report.refuse("files", name, f"They are kept at {uri}, which the server does not hand out.")

    def _proxied(self, root: str) -> Iterator[SourceFile]:
        waiting = [""]
        while waiting:
            below = waiting.pop()
            folder = f"{root}/{below}".strip("/")
            try:
                listed = self._call("GET", "mlflow-artifacts/artifacts", {"path": folder}).get("files") or ()
            except (NotFound, Invalid, Forbidden) as error:
                self._report.refuse("files", folder, error.message)
                continue
            for one in listed:
                name = text_of(one.get("path"))
                # Only a name: what leads elsewhere is refused before it is asked for.
                path = _joined(below, name.rpartition("/")[2])
                if path is None:
                    self._report.refuse("file", f"{folder}/{name}", "Its name leads elsewhere.")
                elif one.get("is_dir"):
                    waiting.append(path)
                else:
                    size = _size(one)
                    url = f"{self._base}/api/2.0/mlflow-artifacts/artifacts/{quote(f'{root}/{path}')}"
                    yield SourceFile(path, size, None, lambda url=url: self._read(url, {}))  # type: ignore[misc]

    def _handed_out(self, run_id: str) -> Iterator[SourceFile]:
        waiting = [""]
        while waiting:
            below = waiting.pop()
            fields = {"run_id": run_id} | ({"path": below} if below else {})
            try:
                listed = list(self._pages("GET", "mlflow/artifacts/list", fields, "files"))
            except (NotFound, Invalid, Forbidden) as error:
                self._report.refuse("files", f"{run_id}/{below}", error.message)
                continue
            for one in listed:
                path = _joined(below, text_of(one.get("path")).rpartition("/")[2])
                if path is None:
                    self._report.refuse("file", f"{run_id}/{text_of(one.get('path'))}", "Its name leads elsewhere.")
                elif one.get("is_dir"):
                    waiting.append(path)
                else:
                    asked = {"run_id": run_id, "path": path}
                    size = _size(one)
                    yield SourceFile(
                        path,
                        size,
                        None,
                        lambda asked=asked: self._read(f"{self._base}/get-artifact", asked),  # type: ignore[misc]
                    )

    def _read(self, url: str, fields: dict[str, str]) -> Iterator[bytes]:
        try:
            with self._http.stream("GET", url, params=fields) as answer:
                if not answer.is_success:
                    raise NotFound(f"The server answered {answer.status_code}.")
                yield from answer.iter_bytes(1 << 20)
        except self._errors as error:
            raise Unavailable(f"The server broke off ({type(error).__name__}).") from None


def _joined(below: str, name: str) -> str | None:
    path = f"{below}/{name}" if below else name
    try:
        check_artifact_path(path)
    except Invalid:
        return None
    return path if path.count("/") < _DEEP else None


def _size(listed: dict[str, Any]) -> int | None:
    return None if listed.get("file_size") is None else number_of(listed["file_size"])


def _words(given: Any) -> dict[str, str]:
    if not isinstance(given, list):
        return {}
    return {text_of(one.get("key")): text_of(one.get("value")) for one in given if isinstance(one, dict)}


def _use(given: dict[str, Any]) -> DatasetUse:
    of = given.get("dataset") or {}
    texts = (text_of(of.get(name)) for name in ("name", "digest", "source_type", "source", "schema", "profile"))
    return DatasetUse(LoggedDataset(*texts), _words(given.get("tags")))


def _point(metric: dict[str, Any]) -> tuple[int, int, str]:
    """Return step, time and value (as hexadecimal text, in which NaN is equal to itself)."""
    try:
        value = float(metric.get("value") or 0)
    except (TypeError, ValueError):
        value = math.nan
    return number_of(metric.get("step")), number_of(metric.get("timestamp")), value.hex()
