"""Plots as SVG, small enough to be written by hand: readable in light and dark."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.figures import Figure, Round
from benchmarks.marks import TIMES

_WIDTH = 760
_LEFT = 150
_RIGHT = 30
_ROW = 34
_TOP = 60
_BOTTOM = 56
_HEIGHT = 300
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px } .small { font-size: 11px; fill: #59636e }
.grid { stroke: #d1d9e0 } .range { stroke: #59636e; stroke-width: 2 }
.value { fill: #0969da } .missed { fill: #d1242f }
.line { stroke: #0969da; fill: none; stroke-width: 2 }
.must { stroke: #bc4c00; stroke-width: 3 } .aim { stroke: #1a7f37; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 } .grid { stroke: #3d444d } .range { stroke: #9198a1 }
.value { fill: #4493f8 } .missed { fill: #f85149 } .line { stroke: #4493f8 }
.must { stroke: #db6d28 } .aim { stroke: #3fb950 } }
"""


def ratios(figures: Sequence[Figure], rounds: Sequence[Round], title: str) -> str:
    """Return each figure's ratio with all its rounds, what it must reach, and the aim."""
    all_of = {each.name: [each.ratio_of(taken) for taken in rounds] for each in figures}
    marks = [mark for each in figures for mark in (each.must, each.aim)]
    values = [*marks, *(value for series in all_of.values() for value in series)]
    lowest, highest = min(values) / 1.25, max(values) * 1.25
    scale = (_WIDTH - _LEFT - _RIGHT) / math.log(highest / lowest)
    bottom = _TOP + _ROW * len(figures)

    def x(value: float) -> float:
        return _LEFT + scale * math.log(value / lowest)

    parts = []
    for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100):
        if lowest <= tick <= highest:
            parts.append(_rule("grid", x(tick), _TOP, x(tick), bottom))
            parts.append(_text("small", x(tick), bottom + 16, f"{TIMES}{tick:g}", "middle"))
    for row, each in enumerate(figures):
        y, series = _TOP + _ROW * (row + 0.5), all_of[each.name]
        found = each.mark(rounds)
        kind = "value" if found.reached else "missed"
        parts.append(_text("name", _LEFT - 12, y + 4, f"{each.name} {found.sign}", "end"))
        parts.append(_rule("range", x(min(series)), y, x(max(series)), y))
        parts += [
            _rule(mark, x(at), y - 11, x(at), y + 11)
            for mark, at in (("must", each.must), ("aim", each.aim))
        ]
        parts.append(
            f'<circle class="{kind}" cx="{x(found.ratio):.1f}" cy="{y:.1f}" r="6">'
            f"<title>{escape(found.told())}</title></circle>"
        )
    legend = "dot: median of the rounds' ratios · line: all rounds · orange: must · green: aim"
    parts.append(_text("small", _LEFT, bottom + 40, legend))
    said = "; ".join(f"{each.mark(rounds).told()}, aim {each.aim:g}" for each in figures)
    return _page(bottom + _BOTTOM, title, said, parts)


def over_time(values: Sequence[float], seconds_each: float, title: str, unit: str) -> str:
    """Return a figure that was taken again and again, as a line from zero."""
    highest = max(values) * 1.1
    bottom = _TOP + _HEIGHT
    width = _WIDTH - _LEFT - _RIGHT

    def y(value: float) -> float:
        return bottom - _HEIGHT * value / highest

    step = 10 ** math.floor(math.log10(highest))
    step = step / 2 if highest / step < 3 else step  # noqa: PLR2004  # at least three lines
    parts = []
    for number in range(int(highest / step) + 1):
        parts.append(_rule("grid", _LEFT, y(number * step), _WIDTH - _RIGHT, y(number * step)))
        parts.append(
            _text("small", _LEFT - 8, y(number * step) + 4, f"{number * step:,.0f}", "end")
        )
    minutes = len(values) * seconds_each / 60
    for minute in range(int(minutes) + 1):
        at = _LEFT + width * minute / max(minutes, 1)
        parts.append(_text("small", at, bottom + 18, f"{minute} min", "middle"))
    points = " ".join(
        f"{_LEFT + width * (place + 0.5) / len(values):.1f},{y(value):.1f}"
        for place, value in enumerate(values)
    )
    parts.append(f'<polyline class="line" points="{points}"/>')
    parts.append(_text("small", _LEFT, _TOP - 12, unit))
    said = f"from {min(values):,.0f} to {max(values):,.0f} {unit}; last {values[-1]:,.0f}"
    return _page(bottom + _BOTTOM, title, said, parts)


def _page(height: float, title: str, said: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}"'
        f' role="img" aria-labelledby="title said">\n<title id="title">{escape(title)}</title>\n'
        f'<desc id="said">{escape(said)}</desc>\n<style>{_STYLE}</style>\n'
        f"{_text('title', _LEFT, 26, title)}\n{body}\n</svg>\n"
    )


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _rule(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
