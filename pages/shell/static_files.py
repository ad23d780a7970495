"""Streamlit's files for the browser, answered from memory: a page asks for two hundred of them before it is drawn.

To read each from the disk would take several switches between threads in the process that draws the pages meanwhile.
Those that are text are compressed once, and not each time that they are sent.
"""

from __future__ import annotations

import asyncio
import gzip
from mimetypes import guess_type
from pathlib import Path

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.url_util import make_url_path

# Larger ones belong to charts that no page here has: they are answered from the disk.
_MOST_BYTES = 1_000_000
_TEXT = (".js", ".css")
# Their names hold a hash of what is in them.
_CACHE = "public, immutable, max-age=31536000"


class StaticFiles:
    """Answer for the files in `folder` below `static/`, and leave everything else to `app`."""

    def __init__(self, app: ASGIApp, folder: Path, base: str) -> None:
        self._app = app
        root = make_url_path(base, "static/")
        self._files = {
            root + path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file() and path.stat().st_size <= _MOST_BYTES
        }
        self._responses = dict[tuple[Path, bool], Response]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one connection of a page."""
        path = self._files.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        headers = dict(scope["headers"]) if path else {}
        if path is None or b"range" in headers:
            await self._app(scope, receive, send)
            return
        is_compressed = path.suffix in _TEXT and b"gzip" in headers.get(b"accept-encoding", b"")
        key = path, is_compressed
        if key not in self._responses:
            self._responses[key] = await asyncio.to_thread(_build_response, path, is_compressed=is_compressed)
        await self._responses[key](scope, receive, send)


def _build_response(path: Path, *, is_compressed: bool) -> Response:
    headers = {"Cache-Control": _CACHE}
    content = path.read_bytes()
    if path.suffix in _TEXT:
        headers["Vary"] = "Accept-Encoding"
    if is_compressed:
        headers["Content-Encoding"] = "gzip"
        content = gzip.compress(content, mtime=0)
    return Response(content, headers=headers, media_type=guess_type(path.name)[0])
