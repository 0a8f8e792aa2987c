"""Search of models and versions, in the language of `undrift.core.filters`."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid
from undrift.core.filters import MODEL_VERSIONS, REGISTERED_MODELS, Clause, parse_filter, parse_order
from undrift.core.operation import operation
from undrift.registry import records
from undrift.registry.model import ModelVersion
from undrift.registry.operations.models import ModelSummary, summaries
from undrift.registry.operations.words import page_offset, page_token

__all__ = ["ModelPage", "SearchModels", "SearchVersions", "VersionPage", "search_models", "search_versions"]

_MOST_MODELS = 1_000
_MOST_VERSIONS = 200_000


class SearchModels(msgspec.Struct, frozen=True):
    """Which models, in which order.

    Attributes:
        project: Of this project.
        filter: Such as ``name LIKE 'delays%' AND tags.team = 'rail'``; all when left out.
        order_by: Such as ``name DESC``, ``last_updated_timestamp``; by name when left out.
        max_results: At most so many a page, 0 to 1,000.
        page_token: Where the page begins, as the page before said.
    """

    project: str
    filter: str = ""
    order_by: tuple[str, ...] = ()
    max_results: int = 100
    page_token: str = ""


class SearchVersions(msgspec.Struct, frozen=True):
    """Which versions, in which order.

    Attributes:
        project: Of this project.
        filter: Such as ``name = 'delays' AND version_number > 3``; all when left out.
        order_by: Such as ``version_number DESC``, ``creation_timestamp``; the last changed first when left out.
        max_results: At most so many a page, 1 to 200,000.
        page_token: Where the page begins, as the page before said.
    """

    project: str
    filter: str = ""
    order_by: tuple[str, ...] = ()
    max_results: int = 1_000
    page_token: str = ""


class ModelPage(msgspec.Struct, frozen=True):
    """Some of the models that were asked for, and the way to the next ones."""

    models: tuple[ModelSummary, ...]
    next_page_token: str = ""


class VersionPage(msgspec.Struct, frozen=True):
    """Some of the versions that were asked for, and the way to the next ones."""

    versions: tuple[ModelVersion, ...]
    next_page_token: str = ""


@operation("registry.search_models", permission="registry:read")
def search_models(ctx: Context, request: SearchModels) -> ModelPage:
    """Find models by name and tags; those that are prompts of MLflow only when the filter asks for prompts.

    Raises:
        Invalid: The filter, the order, the page or its size is none.
    """
    if not 0 <= request.max_results <= _MOST_MODELS:
        raise _too_many(request.max_results, f"0 to {_MOST_MODELS}")
    clauses = _composed(parse_filter(request.filter, REGISTERED_MODELS))
    order = parse_order(request.order_by, REGISTERED_MODELS)
    offset = page_offset(request.page_token)
    with ctx.read() as tx:
        found = records.search_models(tx, request.project, clauses, order, limit=request.max_results + 1, offset=offset)
        page = summaries(tx, found[: request.max_results], latest=True)
    more = len(found) > request.max_results
    return ModelPage(tuple(page), page_token(offset + request.max_results) if more else "")


@operation("registry.search_versions", permission="registry:read")
def search_versions(ctx: Context, request: SearchVersions) -> VersionPage:
    """Find versions by model, run, source, number and tags; deleted ones never.

    Raises:
        Invalid: The filter, the order, the page or its size is none.
    """
    if not 1 <= request.max_results <= _MOST_VERSIONS:
        raise _too_many(request.max_results, f"1 to {_MOST_VERSIONS}")
    clauses = _composed(parse_filter(request.filter, MODEL_VERSIONS))
    order = parse_order(request.order_by, MODEL_VERSIONS)
    offset = page_offset(request.page_token)
    with ctx.read() as tx:
        found = records.search_versions(
            tx, request.project, clauses, order, limit=request.max_results + 1, offset=offset
        )
    more = len(found) > request.max_results
    return VersionPage(tuple(found[: request.max_results]), page_token(offset + request.max_results) if more else "")


def _composed(clauses: Sequence[Clause]) -> tuple[Clause, ...]:
    """Write names as models keep them."""
    return tuple(
        msgspec.structs.replace(one, value=unicodedata.normalize("NFC", one.value))
        if one.entity == "attribute" and one.key == "name" and isinstance(one.value, str)
        else one
        for one in clauses
    )


def _too_many(asked: int, allowed: str) -> Invalid:
    return Invalid(
        f"Invalid value for request parameter max_results: {asked} results cannot be given at once.",
        next_step=f"Ask for {allowed}, and for the next page with its token.",
    )
