"""What the hub counts, as Prometheus text."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from undrift.core.context import Context
from undrift.core.errors import UndriftError
from undrift.events import head
from undrift.monitoring import ListIncidents, list_incidents

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4"  # the character set is added when it is sent
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PAGE_BYTES = 4096
_log = logging.getLogger("undrift.hub")

# Two series more for each one, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types


class Metrics:
    """The numbers of one hub, since it started."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "undrift_hub_requests", "Requests answered.", ("operation", "code"), registry=self._registry
        )
        self._seconds = Histogram(
            "undrift_hub_request_seconds",
            "Seconds from a request's headers to its answer.",
            ("operation",),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._started = time.monotonic()

    def count(self, asked: str, status: int, seconds: float) -> None:
        """Count one answer to an operation or page."""
        self._requests.labels(asked, str(status)).inc()
        self._seconds.labels(asked).observe(seconds)

    def uptime_s(self) -> float:
        """Return the seconds since the hub started."""
        return time.monotonic() - self._started

    def text(self, ctx: Context) -> bytes:
        """Return everything as text; when the database is away, what is in it is left out."""
        registry = CollectorRegistry()
        registry.register(_Gauges(ctx, self.uptime_s()))
        return generate_latest(self._registry) + generate_latest(registry)


class _Gauges(Collector):
    """What is looked up when it is asked for."""

    def __init__(self, ctx: Context, uptime_s: float) -> None:
        self._ctx = ctx
        self._uptime_s = uptime_s

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Give no names ahead: that would look everything up twice."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give the gauges."""
        yield GaugeMetricFamily("undrift_hub_uptime_seconds", "Seconds since the hub started.", self._uptime_s)
        yield GaugeMetricFamily("undrift_hub_resident_bytes", "Memory of the hub's process.", resident_bytes())
        try:
            with self._ctx.read() as tx:
                position = head(tx).position
            open_ones = len(list_incidents(self._ctx, ListIncidents(open_only=True, limit=1000)))
        except UndriftError as error:
            _log.warning("%s: metrics without the database: %s", self._ctx.trace_id, error)
            yield GaugeMetricFamily("undrift_hub_database_up", "Whether the database answers.", 0)
            return
        yield GaugeMetricFamily("undrift_hub_database_up", "Whether the database answers.", 1)
        yield GaugeMetricFamily("undrift_events_head_position", "Newest position of the log.", position)
        yield GaugeMetricFamily("undrift_incidents_open", "Incidents that are not resolved.", open_ones)


def resident_bytes() -> int:
    """Return how much memory this process holds; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
