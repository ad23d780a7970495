"""The HTTP client that both vendors are asked through."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx


@asynccontextmanager
async def connect_http(*, connections: int = 5) -> AsyncGenerator[httpx.AsyncClient]:
    """Open an HTTP client for one loop: no redirects, and about as many `connections` are open at a time."""
    limits = httpx.Limits(max_connections=connections + 2, max_keepalive_connections=connections + 2)
    async with httpx.AsyncClient(limits=limits, follow_redirects=False) as http:
        yield http
