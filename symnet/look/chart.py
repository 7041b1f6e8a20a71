"""Line charts as SVG, without any other program: what the HTML report shows.

In: named series of numbers.  Out: SVG text that follows the surroundings' colours, light or dark (CSS classes c0, c1,
... for the series).  What is not finite is left out, and on a logarithmic axis what is not above 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log10

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 28, 40
COLOURS = 6

Series = tuple[Sequence[float], Sequence[float]]


def line_chart(series: Mapping[str, Series], title: str, x_label: str, y_label: str = "", log: bool = False) -> str:
    """A curve for each series (x, y); the y axis logarithmic if `log`."""
    shown = {
        name: [(float(a), float(b)) for a, b in zip(x, y, strict=True) if isfinite(b) and (b > 0 or not log)]
        for name, (x, y) in series.items()
    }
    points = [point for part in shown.values() for point in part]
    if not points:
        return _frame(title, ['<text class="note" x="50%" y="50%">no finite values</text>'])
    xs, ys = [a for a, _ in points], [b for _, b in points]
    across = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _Axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP, log)
    parts = [*_grid(across, up), _text(x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "label")]
    if y_label:
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(f'<text class="label" transform="translate(12 {middle:.0f}) rotate(-90)">{escape(y_label)}</text>')
    for number, (name, part) in enumerate(shown.items()):
        path = "M" + "L".join(f"{across.at(a):.1f} {up.at(b):.1f}" for a, b in part) if part else ""
        parts.append(f'<path class="curve c{number % COLOURS}" d="{path}" />')
        if len(part) == 1:
            parts.append(f'<circle class="c{number % COLOURS}" cx="{across.at(part[0][0]):.1f}" ')
            parts.append(f'cy="{up.at(part[0][1]):.1f}" r="3" />')
        if len(shown) > 1:
            parts.append(_key(name, number, len(shown)))
    return _frame(title, parts)


def bar_chart(bars: Mapping[str, float], title: str, log: bool = False) -> str:
    """A bar for each name, from top to bottom."""
    values = {name: value for name, value in bars.items() if isfinite(value) and (value > 0 or not log)}
    if not values:
        return _frame(title, ['<text class="note" x="50%" y="50%">no finite values</text>'])
    left = LEFT + 5 * max(0, max(map(len, bars)) - 6)
    low = min(values.values()) / 10 if log else min(0.0, *values.values())
    across = _Axis(low, max(values.values()), left, WIDTH - RIGHT - 52, log)
    high = (HEIGHT - TOP - BOTTOM + 20) / len(bars)
    parts = []
    for number, (name, value) in enumerate(bars.items()):
        y = TOP + number * high
        parts.append(f'<text class="tick end" x="{left - 6}" y="{y + high / 2 + 4:.1f}">{escape(name)}</text>')
        if name in values:
            width = across.at(value) - left
            parts.append(f'<rect class="bar" x="{left}" y="{y + 2:.1f}" width="{width:.1f}" height="{high - 4:.1f}" />')
        shown = f"{value:.3g}"
        parts.append(f'<text class="tick" x="{across.at(values.get(name, low)) + 5:.1f}" ')
        parts.append(f'y="{y + high / 2 + 4:.1f}">{shown}</text>')
    return _frame(title, parts)


class _Axis:
    """Numbers from low to high -> pixels from start to end."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False) -> None:
        self.log = log
        if log:
            low, high = log10(low), log10(high)
        if low == high:
            low, high = low - 0.5, high + 0.5
        self.low, self.high, self.start, self.end = low, high, start, end

    def at(self, value: float) -> float:
        value = log10(value) if self.log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        if self.log and self.high - self.low >= 1:
            step = max(1, ceil((self.high - self.low) / 6))
            return [10.0**k for k in range(ceil(self.low - 1e-9), floor(self.high + 1e-9) + 1, step)]
        if self.log:
            found = [m * 10.0**k for k in range(floor(self.low), ceil(self.high) + 1) for m in (1, 2, 5)]
            found = [t for t in found if self.low - 1e-9 <= log10(t) <= self.high + 1e-9]
            return found or [10.0**self.low, 10.0**self.high]
        span = self.high - self.low
        step_size = 10.0 ** floor(log10(span / 5))
        step_size *= next(m for m in (1, 2, 5, 10) if span / (step_size * m) <= 6)
        first = ceil(self.low / step_size - 1e-9)
        return [k * step_size for k in range(first, floor(self.high / step_size + 1e-9) + 1)]


def _grid(across: _Axis, up: _Axis) -> list[str]:
    parts = []
    for tick in up.ticks:
        y = up.at(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" />')
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{tick:.3g}</text>')
    for tick in across.ticks:
        x = across.at(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" />')
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}">{tick:.4g}</text>')
    return parts


def _key(name: str, number: int, count: int) -> str:
    y = TOP + 14 + 16 * number
    x = WIDTH - RIGHT - 118
    line = f'<path class="curve c{number % COLOURS}" d="M{x} {y - 4}h16" />'
    return f'{line}<text class="tick" x="{x + 21}" y="{y}">{escape(name)}</text>' if count <= 10 else ""


def _text(text: str, x: float, y: float, css: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _frame(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"{_text(title, WIDTH / 2, 16, 'title')}{''.join(parts)}</svg>"
    )
