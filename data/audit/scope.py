"""On whose behalf something is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

Outcome = Literal["done", "refused"]


@dataclass(frozen=True)
class Scope:
    """Who acts, and how. `anchor` is the file beside the database that the newest line is noted in.

    `now` is asked as a line is added, when no other line can be added: later lines have later times.
    """

    who: str
    action: str
    anchor: Path
    now: Callable[[], datetime]
