"""On whose behalf something is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["done", "refused"]


@dataclass(frozen=True)
class Scope:
    """Who acts, and how. `anchor` is the file beside the database that the newest line is noted in."""

    who: str
    action: str
    anchor: Path
