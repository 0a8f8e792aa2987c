"""Addresses of the pages, and how a page is put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from undrift import __version__
from undrift.core.context import Context
from undrift.core.errors import NotFound
from undrift.core.hashing import hash_bytes
from undrift.events import ListEvents, list_events
from undrift.hub.api import query_of
from undrift.hub.calls import Calls
from undrift.hub.problems import Problem
from undrift.hub.web import views, words
from undrift.monitoring import ListIncidents, find_incident, list_incidents
from undrift.operations import read_query

__all__ = ["Pages", "page_routes"]

_HERE = Path(__file__).parent
_HTML = "text/html"
_STATIC = {"undrift.css": "text/css", "undrift.svg": "image/svg+xml"}
_PAGE_HEADERS = {"cache-control": "no-store"}
_STATIC_HEADERS = {"cache-control": "public, max-age=31536000, immutable"}


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
            "as_json": words.as_json,
            "gist": words.gist,
            "lasting": words.lasting,
            "number": words.number,
            "percent": words.percent,
            "when": words.when,
        }
        self._templates.globals |= {
            "address": words.address,
            "insecure_no_login": insecure_no_login,
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
        asked: ListIncidents = read_query(list_incidents, query_of(request))
        return pages.page("incidents.html", found=list_incidents(ctx, asked), asked=asked)

    def incident(ctx: Context, request: Request[Any, Any, Any]) -> str:
        asked = read_query(find_incident, [("number", request.path_params["number"])])
        return pages.page("incident.html", view=views.incident_view(ctx, asked))

    def audit(ctx: Context, request: Request[Any, Any, Any]) -> str:
        asked: ListEvents = read_query(list_events, query_of(request))
        return pages.page("audit.html", view=views.audit_view(ctx, asked))

    made: dict[str, Made] = {
        "/": first,
        "/endpoints/{endpoint:str}": endpoint,
        "/models/{project:str}/{model:str}": model,
        "/incidents": incidents,
        "/incidents/{number:str}": incident,
        "/audit": audit,
    }
    return [*(_page(path, make, calls) for path, make in made.items()), _static_route()]


def _page(path: str, make: Made, calls: Calls) -> HTTPRouteHandler:
    async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
        scope: Any = request.scope
        scope["undrift.asked"] = "page"
        html = await calls.run(lambda ctx: make(ctx, request), trace_id=scope["undrift.trace_id"])
        return Response(html.encode(), media_type=_HTML, headers=_PAGE_HEADERS)

    return HTTPRouteHandler(path, http_method=["GET"], status_code=200)(page)


def _static_route() -> HTTPRouteHandler:
    async def static(request: Request[Any, Any, Any]) -> Response[bytes]:
        name = request.path_params["name"]
        # Looked up, never joined: no name leads out of the folder.
        if name not in _STATIC:
            raise NotFound("There is no such file.")
        return Response(_static(name), media_type=_STATIC[name], headers=_STATIC_HEADERS)

    return HTTPRouteHandler("/static/{name:str}", http_method=["GET"], status_code=200)(static)


@cache
def _static_address(name: str) -> str:
    # With the hash of what is there, so that browsers keep it for ever and still get the new one.
    return f"/static/{name}?{hash_bytes(_static(name))[:12]}"


@cache
def _static(name: str) -> bytes:
    return (_HERE / "static" / name).read_bytes()
