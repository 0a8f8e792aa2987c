"""The whole loop of undrift in one file: which parcels will be late, and what happens when the world changes.

Run it with ``python examples/tiny.py``; it needs ``undrift[lightgbm]``, nothing from the network, and some ten seconds.
Forty days of parcels are history. Then a model answers for every parcel sent, is told the truth a day later, and the
loop keeps it right: on day 50 the two depots swap their roles, which no model trained before can know.
"""

from __future__ import annotations

import tempfile
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean

import httpx
import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

import undrift as ud
from undrift.core import Actor, Context, ReplayClock
from undrift.events import read_after
from undrift.loop.durable import DurableLoop
from undrift.monitoring import Label, ListWindows, RecordLabels, list_windows, record_labels
from undrift.processes import free_port, start_child, wait_ready
from undrift.project import build
from undrift.registry import FindVersion, find_version
from undrift.serving import FindRoute, find_route
from undrift.workspace import Workspace

DAY = timedelta(days=1)
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
LIVE, SHIFT, LAST_DAY = (FIRST_DAY + days * DAY for days in (40, 50, 70))
INPUTS = {"depot": "BYTES", "distance_km": "FP64"}


def every_parcel() -> pl.DataFrame:
    """Make the world: 200 parcels a day, the same in every run; one depot is slow, and from `SHIFT` on the other."""
    rng, rows = np.random.default_rng(0), 200 * (LAST_DAY - FIRST_DAY).days
    sent = [FIRST_DAY + place * DAY / 200 for place in range(rows)]
    depot, distance = rng.choice(["north", "south"], rows), rng.uniform(5.0, 800.0, rows)
    slow = depot == np.where([moment < SHIFT for moment in sent], "north", "south")
    late = rng.random(rows) < 1.0 / (1.0 + np.exp(2.0 - distance / 400.0 - 2.0 * slow))
    columns = {"sent": sent, "depot": depot, "distance_km": distance, "late": late.astype(int)}
    parcels = pl.DataFrame(columns).with_row_index("row")
    return parcels.select(pl.format("P{}", "row").alias("parcel_id"), (pl.col("sent") + DAY).alias("arrived"), *columns)


def arrived(since: datetime | None, until: datetime) -> pl.DataFrame:
    """Return the parcels whose fate became known after ``since`` and up to ``until``."""
    rows = PARCELS.filter(pl.col("arrived") <= until)
    return rows if since is None else rows.filter(pl.col("arrived") > since)


# What a user writes: a project with its declarations. Declaring does nothing by itself.
PARCELS = every_parcel()
project = ud.Project("parcels", owner="ops@parcels.example")
history = project.dataset("parcels", key="parcel_id", time="sent", known_at="arrived", source=arrived)


@project.model("late", predicts="late", data=history, inputs=list(INPUTS))
def train(X: pl.DataFrame, y: pl.Series, seed: int) -> object:  # noqa: N803
    """Fit a small model; any scikit-learn or LightGBM model will do."""
    return LogisticRegression(solver="newton-cholesky", random_state=seed).fit(X.to_numpy(), y.to_numpy())


train.gates(ud.at_least("roc_auc", 0.6), ud.beats_champion("log_loss"))
train.watch(ud.performance("log_loss", drop=0.2, span=7), ud.quality(), ud.drift())
train.retrain(on=["performance"], cooldown="6d", windows=["all", "recent:4d"], held_out="6d")
train.rollout(ud.canary(20, 50, step="2d"))


def ask(server: httpx.Client, parcels: pl.DataFrame, revision: int) -> None:
    """Ask the model server (Open Inference Protocol, version 2): one tensor a column, one prediction id a row."""
    tensors = [
        {"name": name, "datatype": kind, "shape": [parcels.height], "data": parcels[name].to_list()}
        for name, kind in INPUTS.items()
    ]
    parameters = {
        "prediction_ids": parcels["parcel_id"].to_list(),
        "event_times": [moment.isoformat() for moment in parcels["sent"]],
        "routing_revision": revision,
    }
    server.post("/v2/models/late/infer", json={"inputs": tensors, "parameters": parameters}).raise_for_status()


def tell(ctx: Context, parcels: pl.DataFrame) -> None:
    """Tell what really happened, by prediction id."""
    labels = (Label(*row) for row in parcels.select("parcel_id", pl.col("late").cast(float), "arrived").iter_rows())
    record_labels(ctx, RecordLabels("late", tuple(labels)))


def show(workspace: Workspace, position: int) -> int:
    """Print what the log says has happened since a position; return the newest one."""
    sentences = {
        "incident.opened": "incident: {title}, for {owner}",
        "incident.resolved": "incident is over: {why}",
        "loop.transition": "{before} -> {after}: {sentence}",
    }
    with workspace.database.read() as tx:
        events = read_after(tx, position)
    for event in events:
        if event.type in sentences:
            said = sentences[event.type].format(**event.data)
            print(textwrap.fill(f"{event.time:%d %b}  {said}", width=110, subsequent_indent=" " * 8))
    return events[-1].position if events else position


def sum_up(ctx: Context) -> None:
    """Print how good the answers were: as long as the world stood still, while it had changed, and with a new model."""
    version = find_version(ctx, FindVersion("parcels", "late", alias="champion"))
    promoted = find_route(ctx, FindRoute("late")).at
    served = {window.start: window.served.loss for window in list_windows(ctx, ListWindows("late")) if window.served}
    for start, end in ((LIVE, SHIFT), (SHIFT, promoted), (promoted, LAST_DAY)):
        loss = fmean(one for day, one in served.items() if start <= day < end)
        print(f"{start:%d %b} to {end:%d %b}: mean log-loss {loss:.3f}")
    print(f"Version {version.number} was promoted on {promoted:%d %b}.")


def main(folder: Path) -> None:
    """Let the days pass on a workspace of its own."""
    workspace = Workspace.open(folder / ".undrift", create=True)

    def at(moment: datetime) -> Context:
        # The loop is driven by event time: whoever makes the context says what time it is.
        return workspace.context(Actor("tiny", "service"), clock=ReplayClock(moment))

    deployments = build(at(LIVE), project).deployments
    port = free_port()
    child = start_child(["serve", "--workspace", str(workspace.folder), "--port", str(port)], folder / "serve.log")
    try:
        wait_ready(f"http://127.0.0.1:{port}/v2/health/live", 30.0, child)
        loop = DurableLoop(workspace.loop_url, deployments, at, workspace.predictions_folder)
        with loop, httpx.Client(base_url=f"http://127.0.0.1:{port}") as server:
            loop.advance("late", LIVE)
            position, day = show(workspace, 0), LIVE
            while day < LAST_DAY:
                if day == SHIFT:
                    print(f"{day:%d %b}  (the depots swap their roles; nobody says so)")
                sent = PARCELS.filter(pl.col("sent").is_between(day, day + DAY, closed="left"))
                ask(server, sent, find_route(at(day), FindRoute("late")).revision)
                tell(at(day + DAY), arrived(day, day + DAY).filter(pl.col("sent") >= LIVE))
                loop.advance("late", day + DAY)
                position, day = show(workspace, position), day + DAY
        sum_up(at(LAST_DAY))
    finally:
        child.stop()
        workspace.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
