"""The loop: observe, detect, diagnose, decide, retrain, gate, approve, roll out, promote or roll back.

Words: *cycle* (one turn from trigger to outcome, with its stage), *diagnosis* (what broke or what changed, before
anything is done), *training window* (chosen by test), *rollout* (shadow, then canary steps, judged at every look),
*budget*,
*cool-down*. It is driven by event time, so a year passes through the code of production in a minute.

What runs the loop (`undrift.loop.durable`, `undrift.loop.training`) is not loaded by this door: only workers need it.
"""

from undrift.loop.model import (
    Cycle,
    Diagnosis,
    Retraining,
    Rollout,
    RolloutStep,
    TrainingWindow,
    parse_duration_s,
)
from undrift.loop.operations import DecideCycle, ListCycles, decide_cycle, list_cycles
from undrift.loop.policy import Decision, decide

__all__ = [
    "Cycle",
    "DecideCycle",
    "Decision",
    "Diagnosis",
    "ListCycles",
    "Retraining",
    "Rollout",
    "RolloutStep",
    "TrainingWindow",
    "decide",
    "decide_cycle",
    "list_cycles",
    "parse_duration_s",
]
