"""What a model server counts: plain numbers, added to on the way, and told as Prometheus text.

Nothing is locked: whoever counts runs in the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

__all__ = ["CONTENT_TYPE", "Latency", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Latency:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one answer."""
        self._counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Give the samples."""
        below = 0
        for bound, count in zip((*_BUCKETS_S, "+Inf"), self._counts, strict=True):
            below += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {below}'
        yield f"{name}_sum{{{labels}}} {self._sum_s:.9g}"
        yield f"{name}_count{{{labels}}} {below}"


class Metrics:
    """The numbers of one server, since it started.

    Attributes:
        predictions: Rows answered, by endpoint, arm and version; each a list of one number, so that whoever adds to it
            looks it up once.
        latencies: Seconds from a request's headers to its answer, by endpoint.
        errors: Requests answered with an error, by code.
        shed: Requests refused because too much was in flight.
        challenger_failures: Rows the other arm failed to score beside an answer, by endpoint.
    """

    def __init__(self) -> None:
        self.predictions: dict[tuple[str, str, int], list[int]] = {}
        self.latencies: dict[str, Latency] = {}
        self.errors: Counter[str] = Counter()
        self.shed = 0
        self.challenger_failures: Counter[str] = Counter()

    def counter(self, endpoint: str, arm: str, version: int) -> list[int]:
        """Return where the rows of an arm are counted."""
        return self.predictions.setdefault((endpoint, arm, version), [0])

    def latency(self, endpoint: str) -> Latency:
        """Return where the latencies of an endpoint are counted."""
        return self.latencies.setdefault(endpoint, Latency())

    def text(self, dropped: dict[str, int], gauges: dict[str, float]) -> str:
        """Return all numbers as Prometheus text.

        Args:
            dropped: Predictions answered but not logged, by endpoint.
            gauges: What is as it is now, by name.
        """
        lines = ["# TYPE undrift_predictions_total counter"]
        for (endpoint, arm, version), (count,) in sorted(self.predictions.items()):
            labels = f'endpoint="{endpoint}",arm="{arm}",version="{version}"'
            lines.append(f"undrift_predictions_total{{{labels}}} {count}")
        lines.append("# TYPE undrift_request_seconds histogram")
        for endpoint, latency in sorted(self.latencies.items()):
            lines += latency.lines("undrift_request_seconds", f'endpoint="{endpoint}"')
        lines.append("# TYPE undrift_log_dropped_total counter")
        lines.append(f"undrift_log_dropped_total {sum(dropped.values())}")
        lines += [f'undrift_endpoint_log_dropped_total{{endpoint="{one}"}} {n}' for one, n in sorted(dropped.items())]
        lines.append("# TYPE undrift_errors_total counter")
        lines += [f'undrift_errors_total{{code="{code}"}} {count}' for code, count in sorted(self.errors.items())]
        lines.append("# TYPE undrift_challenger_failures_total counter")
        for endpoint, count in sorted(self.challenger_failures.items()):
            lines.append(f'undrift_challenger_failures_total{{endpoint="{endpoint}"}} {count}')
        lines += ["# TYPE undrift_shed_requests_total counter", f"undrift_shed_requests_total {self.shed}"]
        for name, value in gauges.items():
            lines += [f"# TYPE undrift_{name} gauge", f"undrift_{name} {value:g}"]
        return "\n".join(lines) + "\n"
