"""`undrift labels`: tells what really happened, by prediction id."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from undrift.cli.options import ANYWHERE, Anywhere, connected
from undrift.cli.output import say, show_json
from undrift.core.clock import parse_time
from undrift.core.errors import Invalid

if TYPE_CHECKING:
    from undrift.monitoring import LabelReport

__all__ = ["labels"]

_A_CALL = 10_000
_KEPT_IDS = 100
_HELP = "The first line names the columns: prediction_id,label and, when it is known, known_at."


def labels(
    file: Annotated[Path, Parameter(name="FILE", help="CSV with prediction_id, label and perhaps known_at.")],
    /,
    *,
    endpoint: Annotated[str, Parameter(help="Endpoint that made the predictions.")],
    where: Anywhere = ANYWHERE,
) -> None:
    """Record labels from a file; the same ones again change nothing.

    Lines with an empty label are passed over. The whole file is read before anything is recorded.
    """
    from undrift.monitoring import Label

    found = [
        Label(prediction_id, _value(file, line, value), _known_at(file, line, known_at))
        for line, prediction_id, value, known_at in _read(file)
        if value
    ]
    with connected(where) as client:
        reports = [
            client.monitoring.record_labels(endpoint=endpoint, labels=tuple(found[start : start + _A_CALL]))
            for start in range(0, max(len(found), 1), _A_CALL)
        ]
    report = _together(endpoint, reports)
    if where.as_json:
        show_json(report)
        return
    say(f"{report.recorded} recorded, {report.corrected} corrected, {report.unchanged} were there already.")
    if report.sentence:
        say(report.sentence)


def _read(file: Path) -> Iterator[tuple[int, str, str, str]]:
    """Give line, prediction id, label and known-at time of each line."""
    with file.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.reader(opened)
        try:
            columns = [name.strip() for name in next(reader, [])]
            missing = [name for name in ("prediction_id", "label") if name not in columns]
            if missing:
                raise Invalid(f"{file} has no column {', '.join(missing)}.", next_step=_HELP)
            for row in reader:
                if not row:
                    continue
                if len(row) != len(columns):
                    raise Invalid(
                        f"Line {reader.line_num} of {file} has {len(row)} values for {len(columns)} columns.",
                        next_step="Mend the line. Nothing was recorded.",
                    )
                named = dict(zip(columns, (value.strip() for value in row), strict=True))
                yield reader.line_num, named["prediction_id"], named["label"], named.get("known_at", "")
        except (csv.Error, UnicodeDecodeError) as error:
            raise Invalid(f"{file} is no CSV file in UTF-8: {error}.", next_step=_HELP) from None


def _value(file: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Invalid(
            f"Line {line} of {file}: the label {text[:40]!r} is no number.",
            next_step="Write 0 or 1 for a classification. Nothing was recorded.",
        )
    return value


def _known_at(file: Path, line: int, text: str) -> datetime | None:
    if not text:
        return None
    try:
        return parse_time(text)
    except Invalid as error:
        raise Invalid(f"Line {line} of {file}: {error.message}", next_step=error.next_step) from None


def _together(endpoint: str, reports: list[LabelReport]) -> LabelReport:
    from undrift.monitoring import LabelReport

    if len(reports) == 1:
        return reports[0]
    parked = sum(report.parked for report in reports)
    ids = [id_ for report in reports for id_ in report.parked_ids]
    return LabelReport(
        recorded=sum(report.recorded for report in reports),
        unchanged=sum(report.unchanged for report in reports),
        corrected=sum(report.corrected for report in reports),
        parked=parked,
        parked_ids=tuple(ids[:_KEPT_IDS]),
        sentence=""
        if not parked
        else f"{parked} labels are for predictions that {endpoint!r} has not logged, such as {ids[0][:64]!r}. "
        "They are kept, and joined when the predictions turn up. If they never do, check the ids.",
    )
