"""Practice mode: whether our own sandbox answers at an address of this machine."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urljoin

import httpx

from core.rules.matching import IdMerge
from core.vendors.http import HttpClient


async def is_sandbox(http: HttpClient, url: str) -> bool:
    """Ask whether the sandbox answers at this address; nothing secret is sent for asking."""
    try:
        answer = await http.get(urljoin(url, "/sandbox/api/project"), timeout=10.0)
        body: Any = answer.json()
        project: dict[str, Any] = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        return answer.is_success and project.get("id_merge") in list(IdMerge)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
