"""Which Mixpanel project is asked, where it is reached, and as which service account."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import urlsplit

REGIONS = {"us": "https://mixpanel.com", "eu": "https://eu.mixpanel.com", "in": "https://in.mixpanel.com"}
INGESTION = {"us": "https://api.mixpanel.com", "eu": "https://api-eu.mixpanel.com", "in": "https://api-in.mixpanel.com"}
_HOSTS = {urlsplit(url).hostname: region for urls in (REGIONS, INGESTION) for region, url in urls.items()}


def region_of(host: str) -> str | None:
    """Return the region that a host of Mixpanel's belongs to, None for any other host."""
    return _HOSTS.get(host.removeprefix("www."))


@dataclass(frozen=True)
class Project:
    """Where a Mixpanel project is reached, and as whom. `secret` is shown nowhere."""

    base_url: str
    project_id: int
    username: str
    secret: str = field(repr=False)
    workspace_id: int | None = None

    @property
    def authorization(self) -> str:
        """What a request that is made as the service account has in the header of this name."""
        return f"Basic {b64encode(f'{self.username}:{self.secret}'.encode()).decode()}"

    @property
    def key(self) -> str:
        """What the project's budget is kept under: the same project behind two connections has one budget."""
        return f"{urlsplit(self.base_url).netloc}/{self.project_id}"
