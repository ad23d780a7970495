"""What charts are said in: plain Vega-Lite, as the browser takes it.

Altair would check and say the same in some thirty milliseconds of the processor a chart, at every press on its page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

Spec = dict[str, Any]


def count(field: str, **how: Any) -> Spec:
    """Encode a number."""
    return {"field": field, "type": "quantitative", **how}


def name(field: str, **how: Any) -> Spec:
    """Encode a word."""
    return {"field": field, "type": "nominal", **how}


def time(field: str, **how: Any) -> Spec:
    """Encode a moment, which the rows hold as `moment` returns it."""
    return {"field": field, "type": "temporal", **how}


def moment(at: datetime) -> str:
    """Return a moment as rows and scales hold it: with its zone, or without one in that of the reader."""
    return at.isoformat(timespec="milliseconds")


def layer(rows: Sequence[Spec], mark: Spec, encoding: Spec) -> Spec:
    """Draw rows as marks. Streamlit leaves the rows of layers as they are; those of a whole chart become a table."""
    return {"data": {"values": list(rows)}, "mark": mark, "encoding": encoding}


def chart(*layers: Spec, pick: str = "") -> Spec:
    """Draw layers above each other; a click picks what is drawn of one value of the field `pick`, under its name."""
    picked = {"name": pick, "select": {"type": "point", "fields": [pick], "on": "click"}}
    # A screen reader is told of the chart as a whole: of its marks it would read the names of our fields, and pixels.
    return {"layer": list(layers), "config": {"mark": {"aria": False}}} | ({"params": [picked]} if pick else {})
