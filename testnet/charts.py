"""Line charts as inline SVG text: axes, lines, a legend, shaded spans. No scripts, no fonts, nothing from outside.

What does not live here: what is plotted (``testnet.report``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Final

WIDTH: Final = 860
HEIGHT: Final = 240
LEFT: Final = 64
RIGHT: Final = 150
TOP: Final = 12
BOTTOM: Final = 30
TICKS: Final = 5
MAX_POINTS: Final = 1_200
"""More than the chart has pixels; longer series are thinned."""
COLOURS: Final = (
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf",
    "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#393b79", "#637939",
)  # fmt: skip
SPAN_COLOURS: Final = {"kill": "#d62728", "partition": "#ff7f0e", "pause": "#9467bd", "load": "#1f77b4"}

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One series: x in seconds (or the chart's x unit), y in the chart's unit."""

    label: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which something was the case; ``kind`` chooses the colour."""

    start: float
    end: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    length: float

    def place(self, value: float) -> float:
        return self.start + self.length * (value - self.low) / (self.high - self.low)


def draw_chart(
    title: str, unit: str, lines: Sequence[Line], spans: Sequence[Span] = (), *, x_unit: str = "s"
) -> str:
    """A figure of all lines over time (or what ``x_unit`` counts), from zero; a sentence where there is nothing to
    plot."""
    drawn = [Line(line.label, thin_points(line.points)) for line in lines]
    if not any(line.points for line in drawn):
        return f"<figure><figcaption>{escape(title)}</figcaption><p>nothing was recorded</p></figure>"
    xs = [x for line in drawn for x, _ in line.points] + [edge for span in spans for edge in (span.start, span.end)]
    x_scale = _Scale(min(0.0, *xs), max(*xs, min(xs) + 1.0), LEFT, WIDTH - LEFT - RIGHT)
    top = _round_up(max(y for line in drawn for _, y in line.points))
    y_scale = _Scale(0.0, top, HEIGHT - BOTTOM, -(HEIGHT - TOP - BOTTOM))
    parts = [
        *(_draw_span(span, x_scale) for span in spans),
        *_draw_axes(x_scale, y_scale, x_unit),
        *(_draw_line(number, line, x_scale, y_scale) for number, line in enumerate(drawn)),
        *(_draw_label(number, line.label) for number, line in enumerate(drawn)),
    ]
    return (
        f"<figure><figcaption>{escape(title)} <small>({escape(unit)})</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
        + "".join(parts)
        + "</svg></figure>"
    )


def thin_points(points: Sequence[Point]) -> list[Point]:
    """At most ``MAX_POINTS``, the last one among them."""
    step = -(-len(points) // MAX_POINTS)
    thinned = list(points[::step]) if step > 1 else list(points)
    if points and thinned[-1] != points[-1]:
        thinned.append(points[-1])
    return thinned


def _draw_axes(x_scale: _Scale, y_scale: _Scale, x_unit: str) -> list[str]:
    parts = []
    for step in range(TICKS + 1):
        x = x_scale.low + (x_scale.high - x_scale.low) * step / TICKS
        y = y_scale.high * step / TICKS
        x_pixel, y_pixel = x_scale.place(x), y_scale.place(y)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_pixel:.1f}" y2="{y_pixel:.1f}" class="grid"/>'
            f'<text x="{LEFT - 6}" y="{y_pixel + 4:.1f}" text-anchor="end">{_format_number(y)}</text>'
            f'<text x="{x_pixel:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{x:.0f} {x_unit}</text>'
        )
    return parts


def _draw_line(number: int, line: Line, x_scale: _Scale, y_scale: _Scale) -> str:
    path = " ".join(f"{x_scale.place(x):.1f},{y_scale.place(y):.1f}" for x, y in line.points)
    colour = COLOURS[number % len(COLOURS)]
    return (
        f'<polyline points="{path}" stroke="{colour}" class="line"><title>{escape(line.label)}</title></polyline>'
    )


def _draw_label(number: int, label: str) -> str:
    y = TOP + 10 + number * 15
    colour = COLOURS[number % len(COLOURS)]
    return (
        f'<rect x="{WIDTH - RIGHT + 10}" y="{y - 8}" width="10" height="10" fill="{colour}"/>'
        f'<text x="{WIDTH - RIGHT + 25}" y="{y + 1}">{escape(label)}</text>'
    )


def _draw_span(span: Span, x_scale: _Scale) -> str:
    left = x_scale.place(max(span.start, x_scale.low))
    right = x_scale.place(min(span.end, x_scale.high))
    colour = SPAN_COLOURS.get(span.kind, "#7f7f7f")
    return (
        f'<rect x="{left:.1f}" y="{TOP}" width="{max(right - left, 1.0):.1f}" height="{HEIGHT - TOP - BOTTOM}" '
        f'fill="{colour}" class="span"><title>{escape(span.label)}</title></rect>'
    )


def _round_up(value: float) -> float:
    """A round number at or above ``value``, for the top of an axis."""
    if value <= 0:
        return 1.0
    magnitude = 10.0 ** floor(log10(value))
    return next(step * magnitude for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * magnitude >= value)


def _format_number(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1_000:,.0f}k"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2f}"
