"""Declarations: they only collect what the user says, and check what can be checked at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from undrift.core.errors import Conflict, Invalid
from undrift.core.ids import check_name
from undrift.evaluation import AtLeast, BeatsChampion, Gate, NoSegmentWorseThan
from undrift.features import Aggregate, FeatureView
from undrift.loop import Retraining, Rollout, RolloutStep, TrainingWindow, parse_duration_s
from undrift.monitoring import DriftWatch, PerformanceWatch, QualityWatch, Watch

if TYPE_CHECKING:
    import polars as pl

    Reader = Callable[[datetime | None, datetime], pl.DataFrame]

__all__ = [
    "DatasetDeclaration",
    "ModelDeclaration",
    "Project",
    "at_least",
    "beats_champion",
    "canary",
    "drift",
    "no_segment_worse_than",
    "performance",
    "quality",
    "shadow",
]


def at_least(metric: str, value: float) -> Gate:
    """Gate: the metric reaches the value (or stays below it, where lower is better)."""
    return AtLeast(metric, value)


def beats_champion(metric: str = "log_loss", *, by: float = 0.0) -> Gate:
    """Gate: on the same held-out rows the loss is lower than the champion's by at least ``by``."""
    return BeatsChampion(metric, by)


def no_segment_worse_than(column: str, metric: str = "log_loss", *, by: float) -> Gate:
    """Gate: in no segment of the column is the loss surely higher than the champion's by more than ``by``."""
    return NoSegmentWorseThan(column, metric, by)


def performance(metric: str = "log_loss", *, drop: float = 0.03, span: int = 14) -> Watch:
    """Watch: the mean loss over ``span`` windows stays within ``drop`` of what was expected."""
    return PerformanceWatch(metric, drop, span)


def quality(*, missing: float = 0.2, unseen: float = 0.05) -> Watch:
    """Watch: values do not vanish, change their unit, or become unheard of."""
    return QualityWatch(missing, unseen)


def drift(score: float = 0.2) -> Watch:
    """Watch: how far inputs have moved; shown, and weighed in a diagnosis."""
    return DriftWatch(score)


def shadow(duration: str) -> RolloutStep:
    """Rollout step: score every row for so long, and answer none."""
    return RolloutStep("shadow", 0.0, parse_duration_s(duration))


def canary(*percent: float, step: str = "2d") -> tuple[RolloutStep, ...]:
    """Rollout steps: answer these parts of the traffic, one after the other, for at least ``step`` each.

    >>> [one.share for one in canary(5, 25, 50)]
    [0.05, 0.25, 0.5]
    """
    return tuple(RolloutStep("canary", part / 100.0, parse_duration_s(step)) for part in percent)


class DatasetDeclaration:
    """A dataset of a project; made by `Project.dataset`."""

    def __init__(self, name: str, *, key: str, time: str, known_at: str, owner: str, source: Reader | None) -> None:
        self.name = name
        self.key = key
        self.time = time
        self.known_at = known_at
        self.owner = owner
        self.source = source


class ModelDeclaration:
    """A model of a project; made by decorating its training function with `Project.model`."""

    def __init__(
        self,
        name: str,
        train: Callable[..., Any],
        *,
        predicts: str,
        data: DatasetDeclaration,
        inputs: Sequence[str],
        features: Sequence[FeatureView],
        lead_s: float,
        task: str,
        endpoint: str,
        owner: str,
        seed: int,
        label_wait_s: float,
        window_s: float,
    ) -> None:
        self.name = name
        self.train = train
        self.predicts = predicts
        self.data = data
        self.inputs = tuple(inputs)
        self.features = tuple(features)
        self.lead_s = lead_s
        self.task = task
        self.endpoint = endpoint
        self.owner = owner
        self.seed = seed
        self.label_wait_s = label_wait_s
        self.window_s = window_s
        self.gate_list: tuple[Gate, ...] = ()
        self.watch_list: tuple[Watch, ...] = ()
        self.retraining = Retraining(on=())
        self.rollout_plan = Rollout(steps=())

    def __call__(self, *args: Any) -> Any:
        """Train, as the function that was decorated."""
        return self.train(*args)

    def gates(self, *gates: Gate) -> None:
        """Say what a version must show before it may go on."""
        self.gate_list = gates

    def watch(self, *watches: Watch) -> None:
        """Say what to look for in production."""
        self.watch_list = watches

    def retrain(
        self,
        *,
        on: Sequence[str] = ("performance",),
        cooldown: str = "7d",
        budget: int = 12,
        windows: Sequence[str] = ("all",),
        held_out: str = "14d",
    ) -> None:
        """Say when to retrain and which training windows to choose from.

        Args:
            on: ``performance``, ``schedule:30d``.
            cooldown: Time between two retrainings.
            budget: At most so many within a year.
            windows: ``all``, ``recent:60d``, ``weighted:60d`` (weights halve every 60 days); chosen by test.
            held_out: The newest stretch of labelled rows, to test on.
        """
        self.retraining = Retraining(
            on=tuple(on),
            cooldown_s=parse_duration_s(cooldown),
            budget=budget,
            windows=tuple(_window(one) for one in windows),
            held_out_s=parse_duration_s(held_out),
        )

    def rollout(
        self,
        *steps: RolloutStep | tuple[RolloutStep, ...],
        margin: float = 0.05,
        worth: float = 0.0,
        give_up: str = "14d",
        approval: bool = False,
    ) -> None:
        """Say how a new version takes over; see `undrift.loop.Rollout` for the rules."""
        flat = [one for step in steps for one in (step if isinstance(step, tuple) else (step,))]
        self.rollout_plan = Rollout(
            steps=tuple(flat), margin=margin, worth=worth, give_up_s=parse_duration_s(give_up), approval=approval
        )


class Project:
    """A project: datasets, feature views and models that belong together.

    >>> flights = Project("flights", owner="ops@example.com")
    >>> weather = flights.dataset("weather", key="station", time="observed")
    >>> weather.known_at
    'observed'
    """

    def __init__(self, name: str, *, owner: str) -> None:
        self.name = check_name(name, "project")
        self.owner = owner
        self.datasets: dict[str, DatasetDeclaration] = {}
        self.views: dict[str, FeatureView] = {}
        self.models: dict[str, ModelDeclaration] = {}

    def dataset(
        self,
        name: str,
        *,
        key: str,
        time: str,
        known_at: str | None = None,
        owner: str | None = None,
        source: Reader | None = None,
    ) -> DatasetDeclaration:
        """Declare a dataset.

        Args:
            name: Its name.
            key: Column that names a row.
            time: Column that says when a row's facts held.
            known_at: Column that says when they became known; the same as ``time`` when left out.
            owner: Who hears when it is wrong; the project's owner when left out.
            source: Called as ``source(since, until)``; returns the rows that became known after ``since`` (None: ever)
                and up to ``until``.
        """
        made = DatasetDeclaration(
            check_name(name, "dataset"),
            key=key,
            time=time,
            known_at=known_at or time,
            owner=owner or self.owner,
            source=source,
        )
        _add(self.datasets, name, made, "dataset")
        return made

    def feature_view(
        self,
        name: str,
        *,
        source: DatasetDeclaration,
        entity: str | Sequence[str],
        features: Sequence[str] = (),
        aggregates: Mapping[str, tuple[str, str] | str] | None = None,
        window: str | None = None,
        ttl: str | None = None,
        static: bool = False,
    ) -> FeatureView:
        """Declare a feature view.

        Args:
            name: Its name.
            source: The dataset it looks values up in.
            entity: Columns that say whose values they are.
            features: Columns it gives.
            aggregates: Instead: by feature, ``("mean", column)``, ``("sum", column)`` or ``"count"`` over ``window``.
            window: How far back aggregates look, such as ``2h``.
            ttl: Age from which a value is too old, such as ``3h``.
            static: Values hold for ever; time plays no part.
        """
        made = FeatureView(
            name=check_name(name, "feature view"),
            dataset=source.name,
            entity=(entity,) if isinstance(entity, str) else tuple(entity),
            features=tuple(aggregates or features),
            time=None if static else source.time,
            known_at=None if static else source.known_at,
            ttl_s=None if ttl is None else parse_duration_s(ttl),
            window_s=None if window is None else parse_duration_s(window),
            aggregates={
                feature: Aggregate(how) if isinstance(how, str) else Aggregate(*how)
                for feature, how in (aggregates or {}).items()
            },
        )
        _add(self.views, name, made, "feature view")
        return made

    def model(
        self,
        name: str,
        *,
        predicts: str,
        data: DatasetDeclaration,
        inputs: Sequence[str] = (),
        features: Sequence[FeatureView] = (),
        lead: str = "0s",
        task: str = "classification",
        endpoint: str | None = None,
        owner: str | None = None,
        seed: int = 0,
        label_wait: str = "1d",
        window: str = "1d",
    ) -> Callable[[Callable[..., Any]], ModelDeclaration]:
        """Declare a model by decorating its training function.

        The function is called as ``train(X, y, seed)`` or ``train(X, y, seed, weight)`` and returns a fitted LightGBM
        or scikit-learn model. ``X`` has float32 columns: strings are the number of their category, missing is NaN.

        Args:
            name: Its name.
            predicts: Column of the dataset with the answer.
            data: The examples.
            inputs: Columns of the examples that are known when the prediction is made.
            features: Feature views to join, as known when the prediction is made.
            lead: How long before the event the prediction is made.
            task: ``classification`` or ``regression``.
            endpoint: Where it answers; its name when left out.
            owner: Who hears of a performance drop; the project's owner when left out.
            seed: Makes training repeatable.
            label_wait: How long after a window its labels are due.
            window: Length of a monitoring window.

        Raises:
            Invalid: It has no inputs, one twice, or the answer as one; a part is not of this project; the task or a
                duration is none.
            Conflict: Another model has that name or answers at that endpoint.
        """
        self._check_model(name, predicts, data, inputs, features, task)

        def declare(train: Callable[..., Any]) -> ModelDeclaration:
            made = ModelDeclaration(
                check_name(name, "model"),
                train,
                predicts=predicts,
                data=data,
                inputs=inputs,
                features=features,
                lead_s=parse_duration_s(lead),
                task=task,
                endpoint=check_name(endpoint or name, "endpoint"),
                owner=owner or self.owner,
                seed=seed,
                label_wait_s=parse_duration_s(label_wait),
                window_s=parse_duration_s(window),
            )
            if made.window_s < 1:
                raise Invalid(f"A monitoring window of {window} is too short.", next_step="Write 1h or 1d.")
            there = next((one for one in self.models.values() if one.endpoint == made.endpoint), None)
            if there is not None and there.name != name:
                raise Conflict(
                    f"The models {there.name!r} and {name!r} would both answer at {made.endpoint!r}.",
                    next_step="Give one of them another endpoint.",
                )
            _add(self.models, name, made, "model")
            return made

        return declare

    def _check_model(
        self,
        name: str,
        predicts: str,
        data: DatasetDeclaration,
        inputs: Sequence[str],
        features: Sequence[FeatureView],
        task: str,
    ) -> None:
        if task not in {"classification", "regression"}:
            raise Invalid(f"{task!r} is no task.", next_step="Use classification or regression.")
        taken = [*inputs, *(feature for view in features for feature in view.features)]
        twice = sorted({one for one in taken if taken.count(one) > 1})
        if not taken or twice or predicts in taken:
            why = f"has {', '.join(twice)} twice" if twice else f"has its answer {predicts!r} among its inputs"
            raise Invalid(
                f"Model {name!r} {why if taken else 'has no inputs and no features'}.",
                next_step="Name each column it learns from once.",
            )
        if self.datasets.get(data.name) is not data:
            raise Invalid(f"Model {name!r} learns from dataset {data.name!r}, which is not of this project.")
        foreign = [view.name for view in features if view.dataset not in self.datasets]
        if foreign:
            raise Invalid(f"Model {name!r} uses the feature view {foreign[0]!r}, which is not of this project.")


def _add(there: dict[str, Any], name: str, made: object, what: str) -> None:
    if name in there:
        raise Conflict(f"The project declares {what} {name!r} twice.", next_step="Give one of them another name.")
    there[name] = made


def _window(text: str) -> TrainingWindow:
    kind, _, rest = text.partition(":")
    if kind == "all" and not rest:
        return TrainingWindow("all")
    if kind == "recent" and rest:
        return TrainingWindow("recent", parse_duration_s(rest) / 86_400.0)
    if kind == "weighted" and rest:
        return TrainingWindow("weighted", parse_duration_s(rest) / 86_400.0)
    raise Invalid(f"{text!r} is no training window.", next_step="Write all, recent:60d or weighted:60d.")
