"""Small pictures for the cells of a list: bars beside each other, as an address that holds the whole picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote

# As high as a cell of a list draws a picture, which is neither enlarged nor cut then; bars end a little above.
_HEIGHT, _GROUND = 27, 24
# What a column needs beside its pictures.
PADDING_PX = 18


class Bar(NamedTuple):
    """A bar that stands on the ground line, in pixels of the picture."""

    x: float
    width: float
    height: float
    color: str


def picture(bars: Iterable[Bar], *, width: int, ticks: Sequence[float] = ()) -> str:
    """Return a picture of bars, with a thin line at each of the `ticks`. It holds numbers and colors, and no text."""
    paths: dict[str, list[str]] = {}
    for bar in bars:
        x, across, up = (_short(each) for each in (bar.x, bar.width, bar.height))
        paths.setdefault(bar.color, []).append(f"M{x} {_GROUND}v-{up}h{across}v{up}z")
    drawn = "".join(f"<path fill='{color}' d='{''.join(each)}'/>" for color, each in paths.items())
    lines = "".join(f"M{_short(x)} 0v{_HEIGHT}" for x in ticks)
    if lines:
        drawn += f"<path stroke='#8b95a7' stroke-opacity='.55' d='{lines}'/>"
    size = f"width='{width}' height='{_HEIGHT}' viewBox='0 0 {width} {_HEIGHT}'"
    return "data:image/svg+xml," + quote(f"<svg xmlns='http://www.w3.org/2000/svg' {size}>{drawn}</svg>", safe=_SAFE)


# What needs no escape in such an address, which would be three times as long otherwise.
_SAFE = " '=/:.,()"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
