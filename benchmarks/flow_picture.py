"""The picture of the walk that `flow.py` counts: rooms from top to bottom, stops from left to right."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from flow import Flow, Tree

LEFT, TOP, COLUMN, ROW, LABELS = 110, 40, 23, 26, 210
INK, FAINT, FIRST, RETURN, UPCALL = "#263238", "#cfd8dc", "#1565c0", "#ef6c00", "#c62828"


def draw(flow: Flow, tree: Tree) -> str:
    """An SVG of all stops, each named after its function; the same flow gives the same text."""
    rooms = sorted(flow.rooms, key=lambda room: (-tree.height(room), room))
    y = {room: TOP + ROW * (i + 0.5) for i, room in enumerate(rooms)}
    bottom = TOP + ROW * len(rooms)
    width, height = LEFT + COLUMN * len(flow.stops) + 20, bottom + LABELS
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11" fill="{INK}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for room in rooms:
        parts.append(_line(LEFT - 8, y[room], width - 12, y[room], FAINT))
        parts.append(_text(LEFT - 14, y[room] + 4, room, "end"))
    parts += _stations(flow, bottom)
    x = [LEFT + COLUMN * (i + 0.5) for i in range(len(flow.stops))]
    start = flow.stops[0].before
    points = [(LEFT - 4, y[start]), *((x[i], y[stop.room]) for i, stop in enumerate(flow.stops))]
    walk = " ".join(f"{px:g},{py:g}" for px, py in points)
    parts.append(f'<polyline points="{walk}" fill="none" stroke="{INK}" stroke-opacity="0.45"/>')
    for px, stop in zip(x, flow.stops, strict=True):
        colour = UPCALL if stop.is_upcall else RETURN if stop.is_return else FIRST
        parts.append(f'<circle cx="{px:g}" cy="{y[stop.room]:g}" r="4.5" fill="{colour}"/>')
        function, module = stop.call.function, stop.call.module.rpartition(".")[2]
        name = function if "." in function else f"{module}.{function}"
        parts.append(_text(px + 4, bottom + 8, name, "end", f"rotate(-90 {px + 4:g} {bottom + 8})"))
    parts += _legend(height - 8)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _stations(flow: Flow, bottom: float) -> list[str]:
    """A band and a name over the stops that each step of the story makes."""
    parts, i = [], 0
    for station, group in groupby(flow.stops, key=lambda stop: stop.station):
        count = len(list(group))
        left, right = LEFT + COLUMN * i, LEFT + COLUMN * (i + count)
        if station:
            parts.append(_line(left, TOP - 6, left, bottom, FAINT, 'stroke-dasharray="3 3"'))
            parts.append(_line(left + 3, TOP - 6, right - 3, TOP - 6, INK, 'stroke-width="2"'))
            # a narrow band has its name higher up, so that it does not run into the next one
            high = 24 if len(station) * 6.5 > right - left else 12
            parts.append(_text(left + 3, TOP - high, station, "start"))
        i += count
    return parts


def _legend(y: float) -> list[str]:
    parts, x = [], LEFT
    for colour, text in [
        (FIRST, "goes on"),
        (RETURN, "returns to a room it has left"),
        (UPCALL, "is called from below"),
    ]:
        parts.append(f'<circle cx="{x}" cy="{y - 4:g}" r="4.5" fill="{colour}"/>')
        parts.append(_text(x + 9, y, text, "start"))
        x += 40 + 6 * len(text)
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    place = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
    return f'<line {place} stroke="{colour}" {more}/>'


def _text(x: float, y: float, text: str, anchor: str, transform: str = "") -> str:
    turn = f' transform="{transform}"' if transform else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'
