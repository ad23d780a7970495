"""The page that everything is drawn into: Streamlit's own, with what lets it be there sooner and move less.

Streamlit asks for the parts of a page, one after the other, as soon as it has to draw them. Here the page itself names
those that nearly every one has, so that they are on their way before the first word of the server arrives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.url_util import make_url_path

# What our pages are made of, by the names of Streamlit's files.
PARTS = (
    "Button", "ButtonGroup", "Checkbox", "DownloadButton", "Multiselect", "PageLink", "Pagination", "Progress",
    "Selectbox", "Table", "TextInput", "Toast", "DataFrame", "ArrowVegaLiteChart",
)  # fmt: skip
_FONTS = ("MaterialSymbols-Rounded", "SourceCodeVF-Upright")
_IMPORT = re.compile(r'(?:from|import)"\./([^"]+\.js)"')
# Streamlit asks for the server below the page's own address before it asks where it is: a tenth of a second.
_WHERE_THE_SERVER_IS = 'window.__streamlit = { BACKEND_BASE_URL: new URL("./", location.href).href }'
# The page is answered whole: neither by saying that a browser has theirs already, nor compressed.
_NOT_ASKED = (b"if-none-match", b"if-modified-since", b"accept-encoding")
# What a part does when it is loaded is done while nothing else is to do, and not after the first press that needs it.
_LOAD_AT_LEISURE = """
      addEventListener("load", () => {
        const parts = %s, leisure = window.requestIdleCallback || setTimeout
        const loadNext = () => { if (parts.length) import(parts.shift()).finally(() => leisure(loadNext)) }
        setTimeout(() => leisure(loadNext), 1000)
      })
    """
# The cursor in the search that was just opened, for which Streamlit has no word. Who is elsewhere in it stays there.
_CURSOR_IN_SEARCH = """
      const met = new WeakSet()
      new MutationObserver(() => {
        const field = document.querySelector('[role="dialog"] input[type="search"]')
        if (!field || met.has(field)) return
        met.add(field)
        const dialog = field.closest('[role="dialog"]'), here = document.activeElement
        if (here === dialog || !dialog.contains(here)) field.focus()
      }).observe(document, { childList: true, subtree: true })
    """
_CSS = Path(__file__).parent / "index_page.css"


class IndexPage:
    """Put into Streamlit's page, whoever's answer it is, what is ours; every other answer stays as it is."""

    def __init__(self, app: ASGIApp, folder: Path, base: str) -> None:
        self._app = app
        self._theirs = (folder / "index.html").read_bytes()
        self._root = make_url_path(base, "")
        head = "".join(f"    {line}\n" for line in _lines(folder / "static"))
        script = f"    <script>{_WHERE_THE_SERVER_IS}</script>\n"
        self._first, self._below = _with(self._theirs, head), _with(self._theirs, script + head)

    @property
    def text(self) -> str:
        """The page with all that it may have."""
        return self._below.decode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one connection of a page."""
        headers = scope.get("headers", [])
        if scope["type"] != "http" or b"text/html" not in dict(headers).get(b"accept", b""):
            await self._app(scope, receive, send)
            return
        asked = [(name, value) for name, value in headers if name not in _NOT_ASKED]
        below = scope["path"].removeprefix(self._root)
        ours = self._below if below and "/" not in below else self._first
        await self._app({**scope, "headers": asked}, receive, _Replacing(send, self._theirs, ours))


class _Replacing:
    """Send what is answered, but one page in place of another."""

    def __init__(self, send: Send, theirs: bytes, ours: bytes) -> None:
        self._send = send
        self._theirs, self._ours = theirs, ours
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _may_be_page(message, len(self._theirs)):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body, headers = self._body, start["headers"]
        if body == self._theirs:
            body = self._ours
            gone = (b"content-length", b"etag", b"last-modified")
            headers = [(name, value) for name, value in headers if name.lower() not in gone]
            headers.append((b"content-length", str(len(body)).encode()))
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _may_be_page(start: Message, length: int) -> bool:
    headers = {name.lower(): value for name, value in start.get("headers", [])}
    return start["status"] == 200 and headers.get(b"content-length") == str(length).encode()


def _with(page: bytes, head: str) -> bytes:
    """Put lines to the end of the page's head."""
    return page.replace(b"  </head>", f"{head}  </head>".encode(), 1)


def _lines(static: Path) -> Iterator[str]:
    scripts = static / "js"
    for font in (path for name in _FONTS for path in (static / "media").glob(f"{name}.*.woff2")):
        yield f'<link rel="preload" href="./static/media/{font.name}" as="font" type="font/woff2" crossorigin />'
    parts = find_parts(scripts)
    for script in imported(scripts, parts):
        yield f'<link rel="modulepreload" crossorigin href="./static/js/{script}" />'
    yield f"<script>{_LOAD_AT_LEISURE % json.dumps([f'./static/js/{part}' for part in parts])}</script>"
    yield f"<script>{_CURSOR_IN_SEARCH}</script>"
    yield f"<style>\n{_CSS.read_text(encoding='utf-8')}</style>"


def find_parts(scripts: Path) -> list[str]:
    """List the files of the parts that our pages are made of."""
    return [path.name for part in PARTS for path in scripts.glob(f"{part}.*.js")]


def imported(scripts: Path, names: Iterable[str]) -> list[str]:
    """List files with all that they import, each once."""
    waiting, found = list(names), dict[str, None]()
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting += _IMPORT.findall((scripts / name).read_text(encoding="utf-8"))
    return list(found)
