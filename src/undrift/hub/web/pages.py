"""Addresses of the pages, and how a page is put together."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler
from markupsafe import Markup

from undrift import __version__
from undrift.core.context import Context
from undrift.core.errors import NotFound
from undrift.core.hashing import hash_bytes
from undrift.events import ListEvents, list_events
from undrift.hub.api import query_of
from undrift.hub.calls import Calls
from undrift.hub.problems import Problem
from undrift.hub.web import asked, comparing, runs, views, words
from undrift.monitoring import ListIncidents, find_incident, list_incidents
from undrift.operations import read_query
from undrift.tracking import FindExperiment, find_experiment

__all__ = ["Pages", "page_routes"]

_HERE = Path(__file__).parent
_HTML = "text/html"
_JSON = "application/json"
_SCRIPT = "text/javascript"
_STATIC = {
    "undrift.css": ("undrift.css", "text/css"),
    "undrift.svg": ("undrift.svg", "image/svg+xml"),
    "undrift.js": ("undrift.js", _SCRIPT),
    "echarts.js": ("vendor/echarts.min.js", _SCRIPT),
    "htmx.js": ("vendor/htmx.min.js", _SCRIPT),
    "mlflow.js": ("mlflow.js", _SCRIPT),
}
"""What is served: by name, the file and what it is."""

_PAGE_HEADERS = {"cache-control": "no-store"}
_STATIC_HEADERS = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}


class Pages:
    """Puts pages together from templates.

    Args:
        insecure_no_login: Every page says that everybody who reaches the hub owns it.
    """

    def __init__(self, *, insecure_no_login: bool = False) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters |= {
            "amount": words.amount,
            "as_data": words.as_data,
            "as_json": words.as_json,
            "gist": words.gist,
            "lasting": words.lasting,
            "literal": repr,
            "number": words.number,
            "percent": words.percent,
            "shorten": words.shorten,
            "size": words.size,
            "value_text": words.value_text,
            "when": words.when,
        }
        self._templates.globals |= {
            "address": words.address,
            "artifact_address": runs.artifact_address,
            "columns_limit": asked.COLUMNS,
            "diff_asked": asked.DiffAsked,
            "hidden": _hidden,
            "insecure_no_login": insecure_no_login,
            "link": asked.link,
            "static": _static_address,
            "subject_address": words.subject_address,
            "version": __version__,
        }

    def page(self, template: str, /, **values: Any) -> str:
        """Return a page as HTML."""
        return self._templates.get_template(template).render(**values)

    def problem(self, problem: Problem) -> str:
        """Return the page that says what went wrong."""
        return self.page("problem.html", problem=problem.details, status=problem.status)


_HIDDEN = Markup('<input type="hidden" name="{}" value="{}">')

Made = Callable[[Context, Request[Any, Any, Any]], str]


def page_routes(pages: Pages, calls: Calls) -> list[HTTPRouteHandler]:
    """Make the routes of the pages."""

    def first(ctx: Context, _request: Request[Any, Any, Any]) -> str:
        return pages.page("overview.html", view=views.overview(ctx))

    def endpoint(ctx: Context, request: Request[Any, Any, Any]) -> str:
        return pages.page("endpoint.html", view=views.endpoint_view(ctx, request.path_params["endpoint"]))

    def model(ctx: Context, request: Request[Any, Any, Any]) -> str:
        named = request.path_params
        return pages.page("model.html", view=views.model_view(ctx, named["project"], named["model"]))

    def incidents(ctx: Context, request: Request[Any, Any, Any]) -> str:
        wanted: ListIncidents = read_query(list_incidents, query_of(request))
        return pages.page("incidents.html", found=list_incidents(ctx, wanted), asked=wanted)

    def incident(ctx: Context, request: Request[Any, Any, Any]) -> str:
        wanted = read_query(find_incident, [("number", request.path_params["number"])])
        return pages.page("incident.html", view=views.incident_view(ctx, wanted))

    def audit(ctx: Context, request: Request[Any, Any, Any]) -> str:
        wanted: ListEvents = read_query(list_events, query_of(request))
        return pages.page("audit.html", view=views.audit_view(ctx, wanted))

    def experiments(ctx: Context, request: Request[Any, Any, Any]) -> str:
        wanted = asked.read_asked(asked.ExperimentsAsked, request.scope["query_string"])
        return pages.page("experiments.html", view=runs.experiments_view(ctx, wanted))

    def project(ctx: Context, request: Request[Any, Any, Any]) -> str:
        # What a client of MLflow was told to speak to, opened in a browser.
        name = request.path_params["project"]
        view = runs.experiments_view(ctx, asked.ExperimentsAsked(name))
        if not view.projects[0].experiments:
            raise NotFound(f"Project {name[:80]!r} has no experiments.", next_step="See /runs for those there are.")
        return pages.page("experiments.html", view=view)

    def experiment(ctx: Context, request: Request[Any, Any, Any]) -> str:
        named = request.path_params
        # Also a project may be called "compare": routing does not go back from a fixed name to any name.
        place = named.get("place", "compare")
        which = read_query(find_experiment, [("project", place), ("id", named["experiment"])])
        assert isinstance(which, FindExperiment)  # noqa: S101 - what the operation takes
        wanted = asked.read_asked(asked.RunsAsked, request.scope["query_string"])
        return pages.page("experiment.html", view=runs.runs_view(ctx, which.project, which.id or 0, wanted))

    def run(ctx: Context, request: Request[Any, Any, Any]) -> str:
        wanted = asked.read_asked(asked.RunAsked, request.scope["query_string"])
        hub = str(request.base_url).rstrip("/")
        return pages.page("run.html", view=runs.run_view(ctx, request.path_params["place"], wanted, hub))

    def compare(ctx: Context, request: Request[Any, Any, Any]) -> str:
        wanted = asked.read_asked(asked.CompareAsked, request.scope["query_string"])
        return pages.page("compare.html", view=comparing.compare_view(ctx, wanted))

    def diff(ctx: Context, request: Request[Any, Any, Any]) -> str:
        wanted = asked.read_asked(asked.DiffAsked, request.scope["query_string"])
        return pages.page("diff.html", view=comparing.diff_view(ctx, wanted))

    def curves(ctx: Context, request: Request[Any, Any, Any]) -> str:
        wanted = asked.read_asked(asked.CurvesAsked, request.scope["query_string"])
        return msgspec.json.encode(runs.curves(ctx, wanted)).decode()

    made: dict[str, Made] = {
        "/": first,
        "/endpoints/{endpoint:str}": endpoint,
        "/models/{project:str}/{model:str}": model,
        "/incidents": incidents,
        "/incidents/{number:str}": incident,
        "/audit": audit,
        "/projects/{project:str}": project,
        "/runs": experiments,
        "/runs/{place:str}": run,
        "/runs/{place:str}/{experiment:str}": experiment,
        "/runs/compare": compare,
        "/runs/compare/code": diff,
        "/runs/compare/{experiment:str}": experiment,
    }
    routes = [_page(path, make, calls) for path, make in made.items()]
    return [*routes, _page("/runs/compare/curves", curves, calls, kind=_JSON), _static_route()]


def _page(path: str, make: Made, calls: Calls, *, kind: str = _HTML) -> HTTPRouteHandler:
    async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
        if request.method != "GET":
            raise MethodNotAllowedException(headers={"Allow": "GET"})
        scope: Any = request.scope
        scope["undrift.asked"] = "page"
        text = await calls.run(lambda ctx: make(ctx, request), trace_id=scope["undrift.trace_id"])
        return Response(text.encode(), media_type=kind, headers=_PAGE_HEADERS)

    # Litestar's own answer to OPTIONS would say yes to spellings of MLflow's addresses that nothing answers.
    return HTTPRouteHandler(path, http_method=["GET", "OPTIONS"], status_code=200)(page)


def _static_route() -> HTTPRouteHandler:
    async def static(request: Request[Any, Any, Any]) -> Response[bytes]:
        name = request.path_params["name"]
        # Looked up, never joined: no name leads out of the folder.
        if name not in _STATIC:
            raise NotFound("There is no such file.")
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers = _STATIC_HEADERS | {"content-encoding": "gzip"}
            return Response(_packed(name), media_type=_STATIC[name][1], headers=headers)
        return Response(_static(name), media_type=_STATIC[name][1], headers=_STATIC_HEADERS)

    return HTTPRouteHandler("/static/{name:str}", http_method=["GET"], status_code=200)(static)


@cache
def _static_address(name: str) -> str:
    # With the hash of what is there, so that browsers keep it for ever and still get the new one.
    return f"/static/{name}?{hash_bytes(_static(name))[:12]}"


@cache
def _static(name: str) -> bytes:
    return (_HERE / "static" / _STATIC[name][0]).read_bytes()


@cache
def _packed(name: str) -> bytes:
    return gzip.compress(_static(name), mtime=0)


def _hidden(view: msgspec.Struct, *names: str) -> Markup:
    """Return hidden fields for a form that keeps these parts of a view as they are."""
    kept = [(name, value) for name, value in asked.pairs_of(view) if name in names]
    return Markup("").join(_HIDDEN.format(name, value) for name, value in kept)
