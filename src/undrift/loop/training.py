"""Retraining: the training window is chosen by test, and the challenger judged beside the champion."""

from __future__ import annotations

import inspect
import io
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, Unavailable, UndriftError
from undrift.data import find_dataset
from undrift.evaluation import (
    Evidence,
    Gate,
    GateResult,
    Verdict,
    compare_paired,
    judge,
    roc_auc,
    row_losses,
    summary,
)
from undrift.features import FeatureView, TrainingTable, training_table
from undrift.loop.model import TrainingWindow
from undrift.profiles import profile
from undrift.registry import (
    ModelVersion,
    RegisterVersion,
    Signature,
    encode_frame,
    load_scorer,
    package,
    register_version,
    scorer,
    signature_of,
)
from undrift.tracking import EndRun, LogRun, RunLink, StartRun, end_run, log_run, start_run

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

__all__ = ["Recipe", "Trained", "retrain"]

_PARITY_ROWS = 256


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is made from data; the same for the first version and for every later one.

    Attributes:
        project: Whose.
        model: Its name.
        train: ``train(X, y, seed)``, or ``train(X, y, seed, weight)``, returns a fitted LightGBM or scikit-learn model.
            ``X`` is a table of float32 columns: strings are the number of their category, missing values are NaN.
        dataset: The examples.
        label: Their answer.
        inputs: Columns of the examples that are known when the prediction is made.
        views: Feature views to join.
        lead_s: Seconds before the event time at which the prediction is made.
        task: ``classification`` or ``regression``.
        seed: Makes training repeatable.
        gates: What a version must show.
        block_s: Seconds of event time whose rows share their fate.
        code: Commit of the code it is made with; None when it is not kept.
    """

    project: str
    model: str
    train: Callable[..., Any]
    dataset: str
    label: str
    inputs: tuple[str, ...]
    views: tuple[FeatureView, ...]
    lead_s: float
    task: str = "classification"
    seed: int = 0
    gates: tuple[Gate, ...] = ()
    block_s: float = 86_400.0
    code: str | None = None

    @property
    def features(self) -> list[str]:
        """The columns the model takes, in order."""
        return [*self.inputs, *(name for view in self.views for name in view.features)]


class Trained(msgspec.Struct, frozen=True):
    """What a retraining came to.

    Attributes:
        version: The registered version; None when the gates refused it.
        run_id: The run.
        window: The training window that was chosen.
        verdict: Of all gates.
        gates: What each found.
        evidence: Loss by training window, rows, gain over the champion.
    """

    version: ModelVersion | None
    run_id: str
    window: TrainingWindow
    verdict: Verdict
    gates: tuple[GateResult, ...]
    evidence: dict[str, Any]


def retrain(
    ctx: Context,
    recipe: Recipe,
    *,
    run_id: str,
    until: datetime,
    windows: Sequence[TrainingWindow],
    held_out_s: float,
    champion: ModelVersion | None,
) -> Trained:
    """Train, choose the window, judge, and register; doing it again with the same run id gives the same version.

    The newest labelled rows are held out. Each training window is tried on the older ones and tested on them; one
    that is surely better than the first takes its place. That model and the champion are judged on the same held-out
    rows, none of which either was trained on. What passes is trained again on all rows of its window, up to now: this
    is what is registered, and the rollout judges it on live rows.

    Args:
        ctx: Who, when, where.
        recipe: How the model is made.
        run_id: Names this retraining.
        until: Only what was known by then.
        windows: Training windows to choose from.
        held_out_s: Seconds of the newest rows to test on.
        champion: The version to beat; None for a first one.

    Raises:
        Invalid: There are too few rows to train and test on, or the training function failed.
    """
    start_run(
        ctx,
        StartRun(
            project=recipe.project,
            experiment=recipe.model,
            name=f"{recipe.model} {until.date().isoformat()}",
            id=run_id,
            parameters={
                "until": until.isoformat(),
                "windows": [str(window) for window in windows],
                "held_out_s": held_out_s,
                "seed": recipe.seed,
            },
            links=() if recipe.code is None else (RunLink("input", "code", "project", recipe.code),),
        ),
    )
    try:
        trained = _retrain(ctx, recipe, run_id, until, windows, held_out_s, champion)
    except (Conflict, Unavailable):
        raise  # trying again can help, and a run that has ended could not
    except UndriftError as error:
        end_run(ctx, EndRun(run_id, "failed", str(error)[:2000]))
        raise
    end_run(ctx, EndRun(run_id))
    return trained


def _retrain(
    ctx: Context,
    recipe: Recipe,
    run_id: str,
    until: datetime,
    windows: Sequence[TrainingWindow],
    held_out_s: float,
    champion: ModelVersion | None,
) -> Trained:
    import polars as pl  # noqa: PLC0415 - workers only

    table = training_table(
        ctx,
        project=recipe.project,
        dataset=recipe.dataset,
        views=recipe.views,
        label=recipe.label,
        lead_s=recipe.lead_s,
        until=until,
    )
    split = until - timedelta(seconds=held_out_s)
    tested = pl.col("predicted_at") >= split
    if champion is not None and "until" in champion.training:
        # Rows the champion was trained on would flatter it.
        tested &= pl.col("predicted_at") >= datetime.fromisoformat(champion.training["until"])
    held_out = table.frame.filter(tested)
    older = table.frame.filter(pl.col("predicted_at") < split)
    if older.height < 100 or held_out.height < 20:
        raise Invalid(
            f"{older.height} rows to train on and {held_out.height} held out are too few.",
            next_step="Wait for more labels, or hold out a shorter stretch.",
        )
    signature = signature_of(
        table.frame.select(recipe.features),
        task=recipe.task,
        output=recipe.label,
        # A look-up can always come back empty in production, even when it never did in training; and what the champion
        # takes as missing goes on being sent.
        nullable=[
            *(name for view in recipe.views for name in view.features),
            *(field.name for field in (champion.contract.inputs if champion is not None else ()) if field.nullable),
        ],
    )
    labels = held_out[recipe.label].cast(pl.Float64).to_numpy()
    matrix = encode_frame(signature, held_out)
    metric = "log_loss" if recipe.task == "classification" else "mean_absolute_error"
    blocks = (held_out["predicted_at"].dt.epoch("s") // int(recipe.block_s)).to_numpy()
    window, scores, tried = _choose_window(recipe, signature, older, windows, split, labels, matrix, blocks, metric)
    loss = tried[str(window)]["loss"]
    champion_scores = None
    if champion is not None:
        champion_scores = load_scorer(ctx, champion.files)(encode_frame(champion.contract, held_out))
    results = judge(
        recipe.gates,
        Evidence(
            labels=labels,
            challenger=scores,
            champion=champion_scores,
            blocks=blocks,
            segments={name: held_out[name].to_numpy() for name in recipe.features if held_out[name].dtype == pl.String},
        ),
    )
    verdict = summary(results)
    metrics = {metric: loss, "label_mean": float(labels.mean()), "score_mean": float(scores.mean())}
    if recipe.task == "classification":
        metrics["roc_auc"] = roc_auc(labels, scores)
    evidence: dict[str, Any] = {
        "loss_by_window": tried,
        "window": str(window),
        "held_out_rows": held_out.height,
        "loss": loss,
        "champion_loss": None if champion_scores is None else float(row_losses(metric, labels, champion_scores).mean()),
    }
    log_run(
        ctx, LogRun(run_id, metrics=metrics, tags={"window": str(window), "verdict": verdict}, links=_inputs(table))
    )
    if verdict != "pass":
        return Trained(None, run_id, window, verdict, tuple(results), evidence)
    version = _register(ctx, recipe, signature, table, window, until, run_id, metrics)
    return Trained(version, run_id, window, verdict, tuple(results), evidence)


def _choose_window(
    recipe: Recipe,
    signature: Signature,
    older: pl.DataFrame,
    windows: Sequence[TrainingWindow],
    split: datetime,
    labels: np.ndarray,
    matrix: np.ndarray,
    blocks: np.ndarray,
    metric: str,
) -> tuple[TrainingWindow, np.ndarray, dict[str, dict[str, float]]]:
    """Return the window to learn from, its model's scores for the held-out rows, and what each window reached.

    The first window declared stands until another one is surely better on the same rows: a difference that blocks of
    rows cannot show is no reason to forget, or to keep, half of history.
    """
    tried: dict[str, dict[str, float]] = {}
    standing: tuple[TrainingWindow, np.ndarray] | None = None
    for window in windows:
        scores = scorer(_fit(recipe, signature, older, window, split), recipe.task)(matrix)
        tried[str(window)] = {"loss": float(row_losses(metric, labels, scores).mean())}
        if standing is None:
            standing = (window, scores)
            continue
        found = compare_paired(metric, labels, standing[1], scores, blocks)
        tried[str(window)] |= {"gain": found.gain, "lower": found.lower, "upper": found.upper}
        if found.lower > 0:
            standing = (window, scores)
    if standing is None:
        raise Invalid("There is no training window to choose from.", next_step="Declare one, such as all.")
    return *standing, tried


def _register(
    ctx: Context,
    recipe: Recipe,
    signature: Signature,
    table: TrainingTable,
    window: TrainingWindow,
    until: datetime,
    run_id: str,
    metrics: dict[str, float],
) -> ModelVersion:
    rows = _rows(table.frame, window, until)
    estimator = _fit(recipe, signature, table.frame, window, until)
    sample = encode_frame(signature, rows.tail(_PARITY_ROWS))
    artifact = package(ctx, estimator, signature, sample)
    reference = ctx.repository.objects.put(profile(rows.select(recipe.features)).to_bytes())
    used = ctx.repository.objects.put(_row_list(rows, recipe, ctx))
    log_run(
        ctx,
        LogRun(
            run_id,
            links=(
                RunLink("output", "tree", "model", artifact),
                RunLink("output", "object", "reference profile", reference),
                RunLink("output", "object", "training rows", used),
            ),
        ),
    )
    return register_version(
        ctx,
        RegisterVersion(
            project=recipe.project,
            model=recipe.model,
            run_id=run_id,
            key=run_id,
            artifact=artifact,
            signature=signature,
            training={
                "until": until.isoformat(),
                "window": str(window),
                "rows": rows.height,
                "row_list": used,
                "unlabelled": table.unlabelled,
                "quarantined": table.quarantined,
                "missing_by_window": _most_missing(rows, recipe),
                "datasets": {name: version.number for name, version in table.versions.items()},
            },
            metrics=metrics,
            reference_profile=reference,
        ),
    )


def _inputs(table: TrainingTable) -> tuple[RunLink, ...]:
    return tuple(RunLink("input", "dataset_version", name, version.id) for name, version in table.versions.items())


def _rows(frame: pl.DataFrame, window: TrainingWindow, until: datetime) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - workers only

    if window.kind != "recent":
        return frame
    return frame.filter(pl.col("predicted_at") >= until - timedelta(days=window.days))


def _fit(recipe: Recipe, signature: Signature, frame: pl.DataFrame, window: TrainingWindow, until: datetime) -> Any:
    import polars as pl  # noqa: PLC0415 - workers only

    rows = _rows(frame, window, until)
    features = pl.DataFrame(encode_frame(signature, rows), schema=recipe.features, orient="row")
    label = rows[recipe.label]
    if window.kind != "weighted":
        return _train(recipe, features, label)
    if len(inspect.signature(recipe.train).parameters) < 4:
        raise Invalid(
            f"The training function of {recipe.model!r} takes no weights, which window {str(window)!r} needs.",
            next_step="Give it a fourth parameter, or leave the weighted window out.",
        )
    age_days = (until - rows["predicted_at"]).dt.total_seconds() / 86_400.0
    weight = pl.Series("weight", 0.5 ** (age_days.to_numpy() / window.days))
    return _train(recipe, features, label, weight)


def _train(recipe: Recipe, features: pl.DataFrame, label: pl.Series, *weight: pl.Series) -> Any:
    try:
        return recipe.train(features, label, recipe.seed, *weight)
    except UndriftError:
        raise
    except Exception as error:
        raise Invalid(
            f"The training function of {recipe.model!r} failed: {type(error).__name__}: {str(error)[:500]}",
            next_step="Mend it and start the worker again.",
            traceback="".join(traceback.format_exception(error))[-4000:],
        ) from error


def _most_missing(rows: pl.DataFrame, recipe: Recipe) -> dict[str, float]:
    """Return, for each feature, the largest fraction that was missing in any one block of rows."""
    import polars as pl  # noqa: PLC0415 - workers only

    block = pl.col("predicted_at").dt.epoch("s") // int(recipe.block_s)
    missing = rows.group_by(block.alias("block")).agg(pl.col(name).null_count() / pl.len() for name in recipe.features)
    return {name: round(float(missing[name].max() or 0.0), 6) for name in recipe.features}  # type: ignore[arg-type]


def _row_list(rows: pl.DataFrame, recipe: Recipe, ctx: Context) -> bytes:
    """Return which rows a version learnt from, as Parquet: their key and the event time of each value used."""
    key = find_dataset(ctx, recipe.project, recipe.dataset).key
    buffer = io.BytesIO()
    matched = [view.matched for view in recipe.views if view.time is not None]
    rows.select(key, "predicted_at", *matched).write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
