"""Small pictures for the cells of a list: bars beside each other, as an address that holds the whole picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

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
    return "data:image/svg+xml," + f"<svg xmlns='http://www.w3.org/2000/svg' {size}>{drawn}</svg>".translate(_ESCAPED)


# All of what pictures are written with that an address has to escape.
_ESCAPED = {ord(each): f"%{ord(each):02X}" for each in "<>#%"}


@lru_cache(maxsize=4096)
def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
