"""On whose behalf something is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from data.notes import Note

Outcome = Literal["done", "refused"]


@dataclass(frozen=True)
class Scope:
    """Who acts, and how. `anchor` is where the newest line is noted, outside the database.

    `now` is asked as a line is added, when no other line can be added: later lines have later times.
    """

    who: str
    action: str
    anchor: Note
    now: Callable[[], datetime]
