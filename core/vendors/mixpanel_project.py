"""Which Mixpanel project is asked, where it is reached, and as which service account."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

REGIONS = {"us": "https://mixpanel.com", "eu": "https://eu.mixpanel.com", "in": "https://in.mixpanel.com"}


@dataclass(frozen=True)
class Project:
    """Where a Mixpanel project is reached, and as whom. `secret` is shown nowhere."""

    base_url: str
    project_id: int
    username: str
    secret: str = field(repr=False)
    workspace_id: int | None = None

    @property
    def key(self) -> str:
        """What the project's budget is kept under: the same project behind two connections has one budget."""
        return f"{urlsplit(self.base_url).netloc}/{self.project_id}"
