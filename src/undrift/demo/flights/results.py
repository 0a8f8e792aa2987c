"""What came of the year: undrift beside one model never retrained and one retrained monthly, on the same rows."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import numpy as np
import polars as pl

from undrift.core.context import Context
from undrift.demo.flights import feed
from undrift.demo.flights.replay import LAST_DAY, MODEL_FROM
from undrift.evaluation import log_losses
from undrift.loop import Cycle, ListCycles, list_cycles
from undrift.loop.deployment import Deployment
from undrift.monitoring import (
    FindLabelAccount,
    Incident,
    ListIncidents,
    ListWindows,
    Window,
    find_label_account,
    labelled_predictions,
    list_incidents,
    list_windows,
)
from undrift.registry import (
    AliasMove,
    FindVersion,
    ListVersions,
    ModelVersion,
    alias_history,
    encode_frame,
    find_version,
    list_versions,
    load_scorer,
    scorer,
    signature_of,
)
from undrift.serving import FindAccount, PredictionAccount, account

__all__ = ["Month", "Results", "gather"]


class Month(msgspec.Struct, frozen=True):
    """One month: how many labelled flights, and the mean log-loss of each way; lower is better."""

    month: str
    flights: int
    never_log_loss: float
    undrift_log_loss: float
    monthly_log_loss: float


class FaultOutcome(msgspec.Struct, frozen=True):
    """A fault that was put in, and the incident that found it."""

    name: str
    start: datetime
    end: datetime
    incident: int | None
    found_after_h: float | None


class Promotion(msgspec.Struct, frozen=True):
    """A promotion, and what the two weeks after it say: above 0, the promoted version was better on the same rows."""

    version: int
    previous: int
    at: datetime
    reason: str
    gain_after: float
    rows_after: int


class Results(msgspec.Struct, frozen=True):
    """Everything the demo reports; ``summary`` is the JSON object of its last line."""

    months: tuple[Month, ...]
    cycles: tuple[Cycle, ...]
    incidents: tuple[Incident, ...]
    windows: tuple[Window, ...]
    moves: tuple[AliasMove, ...]
    versions: tuple[ModelVersion, ...]
    promotions: tuple[Promotion, ...]
    faults: tuple[FaultOutcome, ...]
    predictions: PredictionAccount
    asked: int
    labels: int
    parked: int
    never_log_loss: float
    monthly_log_loss: float
    undrift_log_loss: float
    trained_on_faulty_rows: int

    def summary(self, seconds: float) -> dict[str, float | int]:
        """Return the figures the demo is judged by."""
        return {
            "never_log_loss": round(self.never_log_loss, 6),
            "monthly_log_loss": round(self.monthly_log_loss, 6),
            "undrift_log_loss": round(self.undrift_log_loss, 6),
            "retrainings": sum(cycle.trigger != "first version" for cycle in self.cycles),
            "promotions": len(self.promotions),
            "bad_promotions": sum(promotion.gain_after < 0 for promotion in self.promotions),
            "data_faults_injected": len(self.faults),
            "data_faults_found": sum(fault.incident is not None for fault in self.faults),
            "other_data_faults_reported": sum(one.cause == "data fault" for one in self.incidents)
            - len({fault.incident for fault in self.faults if fault.incident is not None}),
            "trained_on_faulty_rows": self.trained_on_faulty_rows,
            "asked": self.asked,
            "predictions": self.predictions.collected,
            "labels": self.labels,
            "unlabelled": self.predictions.collected - self.labels,
            "labels_parked": self.parked,
            "log_dropped": self.predictions.dropped,
            "seconds": round(seconds, 1),
        }


def gather(ctx: Context, deployment: Deployment, year: pl.DataFrame, say: Callable[[str], None]) -> Results:
    """Work out what came of the year, from what undrift recorded and from the rows themselves.

    Args:
        ctx: Where from.
        deployment: The model.
        year: From `live_features`: the same inputs for everybody, faults included.
        say: Told how far it is.
    """
    recipe, endpoint = deployment.recipe, deployment.endpoint
    served = labelled_predictions(ctx, endpoint, MODEL_FROM, LAST_DAY)
    labels = served["label"].to_numpy()
    month = served["event_time"].dt.strftime("%Y-%m").to_numpy()
    losses = {"undrift": log_losses(labels, served["score"].to_numpy())}
    first = find_version(ctx, FindVersion(recipe.project, recipe.model, number=1))
    say("scoring the year with the first version")
    losses["never"] = log_losses(labels, load_scorer(ctx, first.files)(encode_frame(first.contract, served)))
    losses["monthly"] = log_losses(labels, _monthly(deployment, year, served, month, say))
    names = sorted(set(month))
    months = tuple(
        Month(
            month=name,
            flights=int((month == name).sum()),
            never_log_loss=float(losses["never"][month == name].mean()),
            undrift_log_loss=float(losses["undrift"][month == name].mean()),
            monthly_log_loss=float(losses["monthly"][month == name].mean()),
        )
        for name in names
    )
    incidents = list_incidents(ctx, ListIncidents(endpoint=endpoint, limit=1000))[::-1]
    versions = list_versions(ctx, ListVersions(recipe.project, recipe.model, limit=1000))[::-1]
    moves = alias_history(ctx, ListVersions(recipe.project, recipe.model, limit=1000))[::-1]
    say("looking back at each promotion")
    return Results(
        months=months,
        cycles=tuple(list_cycles(ctx, ListCycles(endpoint, limit=1000))[::-1]),
        incidents=tuple(incidents),
        windows=tuple(list_windows(ctx, ListWindows(endpoint, limit=5000))[::-1]),
        moves=tuple(moves),
        versions=tuple(versions),
        promotions=tuple(
            _promotion(ctx, move, move.number, versions, served)
            for move in moves
            if move.previous is not None and move.number is not None
        ),
        faults=tuple(_outcome(fault, incidents) for fault in feed.FAULTS),
        predictions=account(ctx, FindAccount(endpoint)),
        asked=year.filter(pl.col("predicted_at") >= MODEL_FROM, pl.col("predicted_at") < LAST_DAY).height,
        labels=(counted := find_label_account(ctx, FindLabelAccount(endpoint))).labelled,
        parked=counted.parked,
        never_log_loss=float(losses["never"].mean()),
        monthly_log_loss=float(losses["monthly"].mean()),
        undrift_log_loss=float(losses["undrift"].mean()),
        trained_on_faulty_rows=sum(_faulty_rows(ctx, version) for version in versions),
    )


def _monthly(
    deployment: Deployment, year: pl.DataFrame, served: pl.DataFrame, month: np.ndarray, say: Callable[[str], None]
) -> np.ndarray:
    """Return the scores of a model retrained at the start of every month on everything, with no loop around it."""
    recipe = deployment.recipe
    scores = np.full(served.height, np.nan)
    for name in sorted(set(month)):
        say(f"for comparison: retraining as of {name} on everything")
        start = datetime.fromisoformat(f"{name}-01T00:00:00+00:00")
        known = year.filter(pl.col("landed") <= start, pl.col("late").is_not_null())
        signature = signature_of(known.select(recipe.features), task=recipe.task, output=recipe.label)
        features = pl.DataFrame(encode_frame(signature, known), schema=recipe.features, orient="row")
        model = scorer(recipe.train(features, known["late"], recipe.seed), recipe.task)
        rows = month == name
        scores[rows] = model(encode_frame(signature, served.filter(pl.Series(rows))))
    return scores


def _promotion(
    ctx: Context, move: AliasMove, number: int, versions: list[ModelVersion], served: pl.DataFrame
) -> Promotion:
    after = served.filter(pl.col("event_time") >= move.at, pl.col("event_time") < move.at + timedelta(days=14))
    labels = after["label"].to_numpy()

    def loss(of: int) -> float:
        version = versions[of - 1]
        scores = load_scorer(ctx, version.files)(encode_frame(version.contract, after))
        return float(log_losses(labels, scores).mean())

    previous = move.previous or 1
    return Promotion(
        version=number,
        previous=previous,
        at=move.at,
        reason=move.reason,
        gain_after=loss(previous) - loss(number),
        rows_after=after.height,
    )


def _outcome(fault: feed.Fault, incidents: list[Incident]) -> FaultOutcome:
    for incident in incidents:
        overlaps = incident.started_at < fault.end and incident.last_seen_at > fault.start
        if incident.cause == "data fault" and "temp" in incident.columns and overlaps:
            hours = (incident.opened_at - fault.start).total_seconds() / 3600
            return FaultOutcome(fault.name, fault.start, fault.end, incident.number, hours)
    return FaultOutcome(fault.name, fault.start, fault.end, None, None)


def _faulty_rows(ctx: Context, version: ModelVersion) -> int:
    """Return how many rows a version learnt from used a weather report sent during a fault."""
    rows = pl.read_parquet(io.BytesIO(ctx.repository.objects.get(version.training["row_list"])))
    used = [(pl.col("weather__time") >= fault.start) & (pl.col("weather__time") < fault.end) for fault in feed.FAULTS]
    return rows.filter(pl.any_horizontal(used)).height
