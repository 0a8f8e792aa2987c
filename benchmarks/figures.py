"""Prints one figure a line, as JSON, with what is needed to read it: the machine's load at that moment."""

import json
import os
import statistics


def figure(name: str, values, unit: str, **facts) -> None:
    """Print the median, least and greatest of some runs."""
    values = list(values)
    print(
        json.dumps(
            {
                "figure": name,
                "median": round(statistics.median(values), 6),
                "min": round(min(values), 6),
                "max": round(max(values), 6),
                "runs": len(values),
                "unit": unit,
                "load1": round(os.getloadavg()[0], 2),
                **facts,
            }
        ),
        flush=True,
    )
