"""Serving: who answers at an endpoint, model servers that keep answering, and the log of every prediction.

Words: *endpoint* (a name that clients ask, unique in the workspace), *route* (who answers there), *arm* (champion,
canary, shadow), *revision* (the place of a route in the history of all routes), *routing table* (the newest route of
every endpoint), *prediction id*, *prediction log* (a local write-ahead file a server, collected into Parquet segments
exactly once), *account* (logged, collected, duplicates, dropped).

A model server is a process of its own and keeps answering when everything else is down; it lives in
`undrift.serving.server`, which this door does not load: the hub needs the words, not the runtime.
"""

from undrift.serving.assignment import assign, place_of
from undrift.serving.collect import CollectReport, collect
from undrift.serving.model import Arm, ArmName, PredictionAccount, Route, RoutingTable, Segment
from undrift.serving.operations import (
    FindAccount,
    FindRoute,
    ListEndpoints,
    ReadRoutingTable,
    RouteHistory,
    SetArm,
    SetRoute,
    account,
    find_route,
    list_endpoints,
    route_history,
    routing_table,
    set_route,
)
from undrift.serving.records import known_predictions
from undrift.serving.segments import read_predictions

__all__ = [
    "Arm",
    "ArmName",
    "CollectReport",
    "FindAccount",
    "FindRoute",
    "ListEndpoints",
    "PredictionAccount",
    "ReadRoutingTable",
    "Route",
    "RouteHistory",
    "RoutingTable",
    "Segment",
    "SetArm",
    "SetRoute",
    "account",
    "assign",
    "collect",
    "find_route",
    "known_predictions",
    "list_endpoints",
    "place_of",
    "read_predictions",
    "route_history",
    "routing_table",
    "set_route",
]
