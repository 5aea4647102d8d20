"""A picture of accuracy against cost, as SVG, without a plotting library."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

__all__ = ["Curve", "Panel", "Point", "picture"]

WIDTH, HEIGHT, MARGIN = 460, 340, 56
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#3ca951", "#9c6b4e", "#a463f2")


@dataclass(frozen=True)
class Point:
    """What something cost, and how often it was right."""

    cost: float
    accuracy: float
    low: float
    high: float
    """Ends of the interval of `accuracy`."""


@dataclass(frozen=True)
class Curve:
    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Panel:
    title: str
    cost: str
    """What the horizontal axis counts; it begins at 0."""
    curves: Sequence[Curve]


def picture(panels: Sequence[Panel]) -> str:
    """The panels beside one another."""
    drawn = [f'<g transform="translate({place * WIDTH},0)">{_panel(panel)}</g>' for place, panel in enumerate(panels)]
    size = f'width="{WIDTH * len(panels)}" height="{HEIGHT}"'
    font = 'font-family="sans-serif" font-size="11" fill="#222"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>\n' + "\n".join(drawn) + "\n</svg>\n"


def _panel(panel: Panel) -> str:
    points = [point for curve in panel.curves for point in curve.points]
    right = max(point.cost for point in points) * 1.05
    bottom = min(point.low for point in points) - 0.02
    top = min(1.0, max(point.high for point in points) + 0.02)

    def x(cost: float) -> float:
        return MARGIN + cost / right * (WIDTH - MARGIN - 16)

    def y(accuracy: float) -> float:
        return HEIGHT - MARGIN + 8 - (accuracy - bottom) / (top - bottom) * (HEIGHT - 2 * MARGIN + 8)

    parts = [f'<text x="{MARGIN}" y="20" font-size="13">{escape(panel.title)}</text>']
    for accuracy in _round_steps(bottom, top):
        parts += [
            f'<line x1="{x(0):.1f}" x2="{x(right):.1f}" y1="{y(accuracy):.1f}" y2="{y(accuracy):.1f}" stroke="#ddd"/>',
            f'<text x="{x(0) - 6:.1f}" y="{y(accuracy) + 4:.1f}" text-anchor="end">{accuracy:.0%}</text>',
        ]
    for cost in _round_steps(0, right):
        parts.append(f'<text x="{x(cost):.1f}" y="{HEIGHT - 30}" text-anchor="middle">{cost:,.0f}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(panel.cost)}</text>')
    for number, curve in enumerate(panel.curves):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x(point.cost):.1f},{y(point.accuracy):.1f}" for point in curve.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for point in curve.points:
            at = f"{x(point.cost):.1f}"
            parts += [
                f'<line x1="{at}" x2="{at}" y1="{y(point.low):.1f}" y2="{y(point.high):.1f}" stroke="{colour}"/>',
                f'<circle cx="{at}" cy="{y(point.accuracy):.1f}" r="3" fill="{colour}"/>',
            ]
        below = HEIGHT - MARGIN - 6 - 14 * (len(panel.curves) - 1 - number)
        parts += [
            f'<circle cx="{WIDTH - 150}" cy="{below - 4}" r="3" fill="{colour}"/>',
            f'<text x="{WIDTH - 142}" y="{below}">{escape(curve.name)}</text>',
        ]
    return "\n".join(parts)


def _round_steps(low: float, high: float) -> Sequence[float]:
    """Three to seven round numbers in between."""
    rough = (high - low) / 6
    power = 10 ** floor(log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    return [number * step for number in range(ceil(low / step), floor(high / step) + 1)]
