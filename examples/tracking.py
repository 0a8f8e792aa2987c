"""Logs trainings from code: parameters, a loss curve, folds, a plot; then reads back what was kept.

Run it with ``python examples/tracking.py``; it needs nothing but undrift and some seconds. It records into a workspace
of its own in a temporary folder. With ``UNDRIFT_HUB=http://127.0.0.1:7470`` and without ``target`` the very same code
records to a hub, and with ``UNDRIFT_OFFLINE=1`` into a file that ``undrift runs sync`` sends later.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import undrift as ud
from undrift.recorder import LiveRun
from undrift.workspace import Workspace

STEPS = 200


def descend(run: LiveRun, rows: np.ndarray, truth: np.ndarray, rate: float) -> float:
    """Fit a line by gradient descent, and log the loss of every step."""
    weights, loss = np.zeros(rows.shape[1]), 0.0
    for step in range(STEPS):
        wrong = rows @ weights - truth
        loss = float(np.mean(wrong**2))
        weights -= rate * 2 * rows.T @ wrong / len(rows)
        run.log(loss=loss, step=step)
    return loss


def main(folder: Path) -> float:
    """Train on three folds, each a run of its own below the one that is the experiment's."""
    workspace = folder / ".undrift"
    Workspace.open(workspace, create=True).close()

    with ud.run("lines", name="three folds", target=workspace, parameters={"rate": 0.05}) as run:
        run.seed(7)
        rng = np.random.default_rng(7)
        rows = rng.normal(size=(300, 4))
        truth = rows @ np.array([1.0, -2.0, 0.5, 3.0]) + rng.normal(scale=0.1, size=300)
        losses = []
        for fold in range(3):
            with run.child(f"fold-{fold}") as part:
                part.parameters(fold=fold)
                losses.append(descend(part, rows[fold::3], truth[fold::3], rate=0.05))
        run.log(mean_loss=float(np.mean(losses)))
        run.tag(kind_of_model="linear")
        run.artifact("losses.csv", content="fold,loss\n" + "".join(f"{at},{loss}\n" for at, loss in enumerate(losses)))

    with ud.connect(workspace) as client:
        there = client.tracking.find_run(run_id=run.id)
        print(f"{there.name}: {there.status}, parameters {there.parameters}, loss {there.metrics['mean_loss']:.4f}")
        print("inputs:", ", ".join(f"{link.kind} {link.ref[:12]}" for link in there.links))
        print("cost:", f"{there.metrics['cost/cpu_seconds']:.1f} s of processor")
        for child in client.tracking.list_runs(experiment="lines"):
            if child.parent_id == run.id:
                print(f"  {child.name}: {child.metrics['loss']:.4f}")
    return float(there.metrics["mean_loss"] or 0.0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        assert main(Path(temporary)) < 0.02
