"""The performance curve as an inline SVG: written on the server, styled by the page's sheet, sharp at every width.

The plot is stretched to the width there is while text keeps its size: shapes live in an inner SVG that is stretched,
text in the outer one, placed by percentages. No style and no script is inline, for the page's policy allows neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from markupsafe import Markup

from undrift.hub.web.axis import alike, time_marks, value_marks
from undrift.hub.web.curve import Point, trailing_means
from undrift.hub.web.words import clock, number

__all__ = ["Level", "Mark", "Span", "performance_chart"]

_WIDTH = 1000
_GUTTER = 0.042
_HEIGHT = 200
_TOP = 34
_STRIP = 16
_STRIP_TOP = _TOP + _HEIGHT + 8
_TOTAL = _STRIP_TOP + _STRIP + 20
_MEAN_OF = 7
_NEAR = 0.055
_LAST = 0.92  # after this there is no room for a word

_PLOT = Markup(
    '<svg class="plot" y="{}" width="100%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
)
# A group, not an image: there are links inside.
_CHART = Markup('<svg class="chart" role="group" aria-label="{}" width="100%" height="{}">{}{}{}</svg>')
_PATH = Markup('<path class="{}" d="{}"/>')
_LINE = Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>')
_SPAN = Markup('<rect class="span {}" x="{}" y="0" width="{}" height="{}"><title>{}</title></rect>')
_TIP = Markup('<rect class="tip" x="{}" y="0" width="{}" height="{}"><title>{}</title></rect>')
_ARRIVED = Markup('<rect class="arrived" x="{}" y="{}" width="{}" height="{}"/>')
_VALUE = Markup('<text class="value" x="0" y="{}">{}</text>')
_MOMENT = Markup('<text class="moment" x="{:.2f}%" y="{}">{}</text>')
_LINK = Markup('<a href="{}" class="{}"><title>{}</title><text x="{:.2f}%" y="{}" text-anchor="{}">{}</text></a>')


class Span(msgspec.Struct, frozen=True):
    """An incident: from when to when, of which kind (``fault`` or ``drop``), where to read of it, what to call it."""

    start: datetime
    end: datetime
    kind: str
    link: str
    label: str
    title: str


class Mark(msgspec.Struct, frozen=True):
    """A promotion: when, where to read of it, what to call it."""

    at: datetime
    link: str
    label: str
    title: str


class Level(msgspec.Struct, frozen=True):
    """What loss was expected from a moment on."""

    start: datetime
    value: float


class _Scale:
    """Places moments and losses in the plot."""

    def __init__(self, points: Sequence[Point], levels: Sequence[Level]) -> None:
        self.start, self.end = points[0].start, points[-1].end
        self._seconds = (self.end - self.start).total_seconds() or 1.0
        trusted = [point.loss for point in points if point.loss is not None and not point.suspect]
        values = trusted or [point.loss for point in points if point.loss is not None]
        values += [level.value for level in levels if level.start < self.end]
        low, high = min(values, default=0.0), max(values, default=1.0)
        margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        self.low, self.high = low - margin, high + margin

    def across(self, moment: datetime) -> float:
        """Return the place in time, 0 to 1; the first part is left to the numbers of the axis."""
        share = min(1.0, max(0.0, (moment - self.start).total_seconds() / self._seconds))
        return _GUTTER + share * (1 - _GUTTER)

    def x(self, moment: datetime) -> float:
        """Return the place in time in the inner SVG."""
        return round(self.across(moment) * _WIDTH, 1)

    def y(self, loss: float) -> float:
        """Return the height of a loss in the inner SVG; what lies outside is drawn on the edge."""
        share = (loss - self.low) / (self.high - self.low)
        return round((1 - min(1.0, max(0.0, share))) * _HEIGHT, 1)


def performance_chart(
    points: Sequence[Point],
    *,
    spans: Sequence[Span] = (),
    marks: Sequence[Mark] = (),
    levels: Sequence[Level] = (),
    label: str,
    tips: bool = False,
) -> Markup:
    """Draw the loss over event time, with incidents shaded, promotions marked and the labels that have arrived.

    Args:
        points: What to draw, oldest first; at least one.
        spans: Incidents.
        marks: Promotions.
        levels: Expected losses, oldest first.
        label: What is to be seen, for those who cannot see it.
        tips: Say of each point what it is when pointed at.
    """
    scale = _Scale(points, levels)
    spans = [span for span in spans if span.end > scale.start and span.start < scale.end]
    marks = [mark for mark in marks if scale.start <= mark.at <= scale.end]
    values = value_marks(scale.low, scale.high)
    shapes = [
        *(_span(scale, span) for span in spans),
        *(_line("grid", 0, scale.y(value), _WIDTH, scale.y(value)) for value in values),
        _path("expected", _steps(scale, levels)),
        _path("loss", _curve(scale, points, [point.loss for point in points])),
        _path("dots", _dots(scale, [point for point in points if not point.suspect])),
        _path("dots suspect", _dots(scale, [point for point in points if point.suspect])),
        _path("mean", _curve(scale, points, trailing_means(points, _MEAN_OF))),
        *(_line("promotion", scale.x(mark.at), 0, scale.x(mark.at), _HEIGHT) for mark in marks),
        *(_tip(scale, point) for point in points if tips),
    ]
    strip = [_arrived(scale, point) for point in points if point.measured]
    texts = [
        *(_value_text(scale, value, said) for value, said in zip(values, alike(values), strict=True)),
        *(_time_text(scale, at, said) for at, said in time_marks(scale.start, scale.end) if scale.across(at) < _LAST),
        *_links(scale, [(span.start, span.link, span.label, span.title) for span in spans], 12, "incident"),
        *_links(scale, [(mark.at, mark.link, mark.label, mark.title) for mark in marks], 28, "promoted"),
    ]
    plot = _PLOT.format(_TOP, _HEIGHT, _WIDTH, _HEIGHT, Markup("").join(shapes))
    below = _PLOT.format(_STRIP_TOP, _STRIP, _WIDTH, _STRIP, Markup("").join(strip))
    return _CHART.format(label, _TOTAL, plot, below, Markup("").join(texts))


def _path(kind: str, commands: str) -> Markup:
    return _PATH.format(kind, commands) if commands else Markup("")


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return _LINE.format(kind, x1, y1, x2, y2)


def _span(scale: _Scale, span: Span) -> Markup:
    left, right = scale.x(span.start), scale.x(span.end)
    return _SPAN.format(span.kind, left, round(max(2.0, right - left), 1), _HEIGHT, span.title)


def _middle(scale: _Scale, point: Point) -> float:
    return scale.x(point.start + (point.end - point.start) / 2)


def _curve(scale: _Scale, points: Sequence[Point], values: Sequence[float | None]) -> str:
    commands: list[str] = []
    pen_down = False
    for point, value in zip(points, values, strict=True):
        if value is None:
            pen_down = False
            continue
        commands.append(f"{'L' if pen_down else 'M'}{_middle(scale, point):g} {scale.y(value):g}")
        pen_down = True
    return "".join(commands)


def _dots(scale: _Scale, points: Sequence[Point]) -> str:
    # Lines of no length with round ends: circles would become ellipses when the plot is stretched.
    return "".join(
        f"M{_middle(scale, point):g} {scale.y(point.loss):g}h0" for point in points if point.loss is not None
    )


def _steps(scale: _Scale, levels: Sequence[Level]) -> str:
    commands: list[str] = []
    for place, level in enumerate(levels):
        end = levels[place + 1].start if place + 1 < len(levels) else scale.end
        if end > scale.start and level.start < scale.end:
            commands.append(f"M{scale.x(level.start):g} {scale.y(level.value):g}H{scale.x(end):g}")
    return "".join(commands)


def _arrived(scale: _Scale, point: Point) -> Markup:
    left, right = scale.x(point.start), scale.x(point.end)
    height = round(point.maturity * _STRIP, 1)
    return _ARRIVED.format(left, _STRIP - height, round(max(0.5, right - left), 1), height)


def _tip(scale: _Scale, point: Point) -> Markup:
    left, right = scale.x(point.start), scale.x(point.end)
    said = [f"{clock(point.start)} to {clock(point.end)} UTC", f"loss {number(point.loss)}"]
    said.append(f"{point.labels:,} of {point.predictions:,} labels" if point.measured else "labels are not due yet")
    if point.suspect:
        said.append(f"data fault in {', '.join(point.suspect)}")
    return _TIP.format(left, round(max(1.0, right - left), 1), _HEIGHT, "; ".join(said))


def _value_text(scale: _Scale, value: float, said: str) -> Markup:
    return _VALUE.format(_TOP + scale.y(value) - 4, said)


def _time_text(scale: _Scale, at: datetime, said: str) -> Markup:
    return _MOMENT.format(scale.across(at) * 100, _TOTAL - 5, said)


def _links(scale: _Scale, found: Sequence[tuple[datetime, str, str, str]], height: int, kind: str) -> list[Markup]:
    texts = []
    last = -1.0
    for at, link, label, title in sorted(found):
        across = scale.across(at)
        # One that would be written over its neighbour is left out: all of them are in the tables.
        if across - last < _NEAR and last >= 0:
            continue
        last = across
        anchor = "end" if across > 0.97 else "middle"
        texts.append(_LINK.format(link, kind, title, across * 100, height, anchor, label))
    return texts
