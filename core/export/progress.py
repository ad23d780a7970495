"""How far a run is."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.run_log import RunLog


@dataclass
class Progress:
    """What a run shows of itself while it works."""

    step: str = "starting"
    expected: int | None = None
    profiles: int = 0
    pages: int = 0
    pages_expected: int | None = None
    messages: int = 0
    messages_expected: int | None = None
    requests: int = 0
    queries: int = 0
    run_log: RunLog = field(default_factory=RunLog)

    def begin(self, step: str) -> None:
        """Begin a step, and note when."""
        self.step = step
        self.run_log.step(step)
