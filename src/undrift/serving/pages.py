"""What a model server says of itself: health, metrics, the models it serves; and how it tells an error."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec

from undrift import __version__
from undrift.core.errors import Invalid, NotFound, Unavailable, UndriftError
from undrift.serving.admission import Admission
from undrift.serving.log import PredictionLog
from undrift.serving.metrics import CONTENT_TYPE, Metrics
from undrift.serving.oip import metadata
from undrift.serving.routing import Loaded, Router

__all__ = ["JSON", "Pages", "SlowBody", "WrongMediaType", "WrongMethod", "problem_body"]

JSON = "application/json"

_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready)?")
_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer|/predict/([^/]+)")
_SILENT_S = 15.0


class WrongMethod(Invalid):
    """The path is known, the method is not one it takes."""

    status = 405


class WrongMediaType(Invalid):
    """The body is not JSON, or is packed in some way."""

    status = 415


class SlowBody(Invalid):
    """The body took too long to arrive."""

    status = 408


def problem_body(error: UndriftError) -> bytes:
    """Return RFC 9457 problem details, with the ``error`` that clients of the Open Inference Protocol look for."""
    return msgspec.json.encode(error.to_problem() | {"error": str(error)})


class Pages:
    """Answers everything that is only read.

    Args:
        router: What is served.
        log: The prediction log.
        metrics: What was counted.
        admission: What is in flight.
    """

    def __init__(self, router: Router, log: PredictionLog, metrics: Metrics, admission: Admission) -> None:
        self._router = router
        self._log = log
        self._metrics = metrics
        self._admission = admission

    def answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body of a page.

        Raises:
            NotFound: There is no such page, model or version.
            WrongMethod: It is asked for with another method than GET, or is one that takes POST.
            Unavailable: The model is known, but nothing could be loaded for it; or no model is known yet.
        """
        if method != "GET":
            raise self._wrong_method(method, path)
        if path == "/metrics":
            return 200, CONTENT_TYPE, self._metrics_text().encode()
        status, body = self._json(path)
        return status, JSON, msgspec.json.encode(body)

    def _json(self, path: str) -> tuple[int, Any]:
        if path == "/health":
            return 200, self._health()
        if path == "/v2":
            return 200, {"name": "undrift", "version": __version__, "extensions": []}
        if path == "/v2/health/live":
            return 200, {"live": True}
        if path == "/v2/health/ready":
            ready = self._ready()
            return (200 if ready else 503), {"ready": ready}
        if _INFER.fullmatch(path):
            raise WrongMethod("Predictions are asked for with POST.", allow="POST")
        if (match := _MODEL.fullmatch(path)) is not None:
            return 200, self._model(*match.groups())
        raise unknown_path(path)

    def _wrong_method(self, method: str, path: str) -> UndriftError:
        if _INFER.fullmatch(path):
            return WrongMethod(f"{method[:20]} is no way to ask for predictions.", allow="POST")
        try:
            self.answer("GET", path)
        except UndriftError as error:
            return error
        return WrongMethod(f"{path[:100]} can only be read.", allow="GET")

    def missing(self, loaded: Loaded, path: str) -> UndriftError:
        """Return why there is nobody to answer a POST to a path."""
        match = _INFER.fullmatch(path)
        if match is None:
            return self._wrong_method("POST", path)
        endpoint, version = match[1] or match[3], match[2]
        try:
            _find(loaded, endpoint, version)
        except UndriftError as error:
            return error
        return unknown_path(path)

    def _ready(self) -> bool:
        loaded = self._router.loaded
        return loaded.known and not loaded.problems.keys() - loaded.routes.keys()

    def _model(self, endpoint: str, version: str | None, ready: str | None) -> dict[str, Any]:
        found = _find(self._router.loaded, endpoint, version)
        if ready:
            return {"name": endpoint, "ready": True}
        numbers = [arm.number for arm in found.arms]
        place = numbers.index(int(version)) if version else 0
        return metadata(endpoint, found.arms[place].runtime.signature, numbers)

    def _health(self) -> dict[str, Any]:
        router, loaded = self._router, self._router.loaded
        problems = self._log.problems() + list(loaded.problems.values())
        age = None if router.seen_at is None else time.monotonic() - router.seen_at
        if router.source_error:
            problems.append(f"The routing table cannot be refreshed: {router.source_error}")
        elif age is None or age > _SILENT_S:
            problems.append("The routing table cannot be refreshed: its source does not answer.")
        return {
            "status": "problem" if problems else "ok",
            "problems": problems,
            "routing_revision": loaded.revision,
            "routing_age_s": None if age is None else round(age, 1),
            "endpoints": {
                endpoint: {"revision": one.route.revision, "model": one.route.model, "arms": one.route.arms}
                for endpoint, one in sorted(loaded.routes.items())
            },
            "log": {
                "file": None if self._log.path is None else self._log.path.name,
                "frames": self._log.frames,
                "bytes": self._log.bytes,
                "dropped": dict(self._log.dropped),
            },
            "in_flight": {"requests": self._admission.requests, "rows": self._admission.rows},
        }

    def _metrics_text(self) -> str:
        return self._metrics.text(
            dict(self._log.dropped),
            {
                "routing_revision": self._router.loaded.revision,
                "routing_problems": len(self._router.loaded.problems),
                "log_bytes": self._log.bytes,
                "log_frames": self._log.frames,
                "requests_in_flight": self._admission.requests,
                "rows_in_flight": self._admission.rows,
            },
        )


def unknown_path(path: str) -> NotFound:
    """Return that there is nothing at a path."""
    return NotFound(
        f"There is nothing at {path[:200]!r}.",
        next_step="Ask /predict/ENDPOINT, /v2/models/ENDPOINT/infer, /v2, /health or /metrics.",
    )


def _find(loaded: Loaded, endpoint: str, version: str | None) -> Any:
    found = loaded.routes.get(endpoint)
    if found is None:
        if endpoint in loaded.problems:
            raise Unavailable(loaded.problems[endpoint], next_step="Set a route to another version.", retry_s=10)
        if not loaded.known:
            raise Unavailable("This server does not know its routes yet.", next_step="Try again soon.", retry_s=1)
        known = ", ".join(sorted(loaded.routes)[:20])
        raise NotFound(
            f"There is no endpoint {endpoint[:100]!r}.",
            next_step=f"Known are: {known}." if known else "Deploy a model version to one first.",
            endpoint=endpoint[:100],
        )
    numbers = [arm.number for arm in found.arms]
    if version is not None and version not in map(str, numbers):
        raise NotFound(
            f"Version {version[:20]!r} does not answer at {endpoint!r}.",
            next_step=f"On its route are: {', '.join(map(str, numbers))}.",
        )
    return found
