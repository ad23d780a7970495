"""The page that everything is drawn into: Streamlit's own, with additions that let it load sooner and move less.

Streamlit's script fetches the files of the elements of a page, one after the other, when it first draws them. Here the
page itself names those that nearly every page has, so that a browser fetches them before the server's first message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.url_util import make_url_path

# The elements that nearly every page has, by the names of Streamlit's files.
PARTS = (
    "Button", "ButtonGroup", "Checkbox", "DownloadButton", "Multiselect", "PageLink", "Pagination", "Progress",
    "Selectbox", "Table", "TextInput", "Toast", "DataFrame", "ArrowVegaLiteChart",
)  # fmt: skip
# Those that some pages have: fetched once a page is there, before a press needs them.
LATER_PARTS = ("Radio", "NumberInput", "Spinner", "DateInput", "TimeInput", "FileUploader")
_FONTS = ("MaterialSymbols-Rounded", "SourceCodeVF-Upright")
_IMPORT = re.compile(r'(?:from|import)"\./([^"]+\.js)"')
# Streamlit asks for the server below the page's own address before it asks where it is: a tenth of a second.
_WHERE_THE_SERVER_IS = 'window.__streamlit = { BACKEND_BASE_URL: new URL("./", location.href).href }'
# Without these headers of a request the page is answered whole, and not compressed.
_DROPPED_HEADERS = (b"if-none-match", b"if-modified-since", b"accept-encoding")
# What draws charts, by the names of Streamlit's files; each exports what it is for as `t`.
_CHART_PARTS = ("embed", "vega-interpreter")
# Runs the script of each element while the browser is idle, and not after the first press that needs it. Last it draws
# a chart that nobody sees, of the kinds that the pages have: the first one takes twice as long as those after it.
_LOAD_WHEN_IDLE = """
      addEventListener("load", () => {
        const parts = %s, chartParts = %s, whenIdle = window.requestIdleCallback || setTimeout
        const count = { field: "n", type: "quantitative" }
        const word = { field: "a", type: "nominal", legend: { title: null } }
        const encodings = {
          bar: { x: { field: "a", type: "ordinal", axis: { labelExpr: "datum.label + ''" } } },
          line: { x: { field: "at", type: "temporal" }, strokeDash: word }
        }
        const values = ["2026-01-01", "2026-01-02"].map((at, n) => ({ at, n, a: at }))
        const drawChart = async ([{ t: embed }, { t: expr }]) => {
          for (const [type, own] of Object.entries(encodings)) {
            const encoding = { ...own, y: { ...count, axis: { format: ",d" } }, color: word, tooltip: [count] }
            const spec = { data: { values }, layer: [{ mark: type, encoding }], width: 300, height: 100 }
            const options = { ast: true, expr, actions: false, defaultStyle: false }
            const { finalize } = await embed(document.createElement("div"), spec, options)
            finalize()
          }
          performance.mark("chart drawn")
        }
        const loadNext = () => {
          if (parts.length) return import(parts.shift()).finally(() => whenIdle(loadNext))
          if (document.querySelector("svg.marks")) return
          Promise.all(chartParts.map(part => import(part))).then(drawChart).catch(() => {})
        }
        setTimeout(() => whenIdle(loadNext), 1000)
      })
    """
# What Streamlit has no option for: the field of the search has the focus once that was opened, and again by the keys
# that open it; Enter in it presses the button beside it, once what was typed is on its way; arrow keys lead through
# what was found. Anyone who has moved on within the dialog stays there.
_SEARCH_KEYS = """
      const seen = new WeakSet()
      new MutationObserver(() => {
        const field = document.querySelector('[role="dialog"] input[type="search"]')
        if (!field || seen.has(field)) return
        seen.add(field)
        const dialog = field.closest('[role="dialog"]'), here = document.activeElement
        if (here === dialog || !dialog.contains(here)) field.focus()
      }).observe(document, { childList: true, subtree: true })
      addEventListener("keydown", event => {
        const field = document.querySelector('[role="dialog"] [class*=st-key-search_text_] input')
        if (!field || event.isComposing) return
        const { key, target } = event
        const stops = [field, ...document.querySelectorAll(".st-key-search_found :is(button, a)")]
        const at = stops.indexOf(target), step = { ArrowDown: 1, ArrowUp: -1 }[key]
        if (key === "Enter" && target === field) {
          setTimeout(() => document.querySelector(".st-key-search_open button")?.click())
        } else if (at >= 0 && step) {
          event.preventDefault()
          stops[at + step]?.focus()
        } else if (((event.ctrlKey || event.metaKey) && key === "k") || (key === "/" && target !== field)) {
          event.preventDefault()
          event.stopImmediatePropagation()
          field.focus()
          field.select()
        }
      }, true)
    """
# Where another thing was opened, what was pressed is gone, and the focus with it: the heading has it then, so that a
# screen reader says where one is, and Tab goes on from there. A dialog that goes hands the focus back a moment later.
_FOCUS_ON_HEADING = """
      let shown, until = 0
      const place = () => {
        const isLost = document.activeElement === document.body && !document.querySelector('[role="dialog"]')
        const heading = document.querySelector('[data-testid="stMain"] h1')
        if (performance.now() > until || !isLost || !heading) return
        until = 0
        heading.tabIndex = -1
        heading.focus({ preventScroll: true })
      }
      new MutationObserver(() => {
        if (document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState !== "notRunning") return
        if (shown !== undefined && shown !== location.href) until = performance.now() + 1000
        shown = location.href
        for (const wait of [0, 300, 900]) setTimeout(place, wait)
      }).observe(document, { subtree: true, attributeFilter: ["data-test-script-state"] })
    """
# A box that opens below a button scrolls where the window is too low for it: from the keyboard as well.
_REACHABLE_BOXES = """
      new MutationObserver(() => {
        for (const box of document.querySelectorAll('[data-testid="stPopoverBody"]:not([tabindex])')) box.tabIndex = 0
      }).observe(document, { childList: true, subtree: true })
    """
_CSS = Path(__file__).parent / "index_page.css"


class IndexPage:
    """Add our lines to the head of Streamlit's page wherever that is the answer; other answers stay as they are."""

    def __init__(self, app: ASGIApp, folder: Path, base: str) -> None:
        self._app = app
        self._original = (folder / "index.html").read_bytes()
        self._root = make_url_path(base, "")
        head = "".join(f"    {line}\n" for line in _head_lines(folder / "static"))
        script = f"    <script>{_WHERE_THE_SERVER_IS}</script>\n"
        self._at_root = _add_to_head(self._original, head)
        self._below_root = _add_to_head(self._original, script + head)

    @property
    def text(self) -> str:
        """The page with all scripts that it may have."""
        return self._below_root.decode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one connection of a page."""
        headers = scope.get("headers", [])
        if scope["type"] != "http" or b"text/html" not in dict(headers).get(b"accept", b""):
            await self._app(scope, receive, send)
            return
        kept = [(name, value) for name, value in headers if name not in _DROPPED_HEADERS]
        below = scope["path"].removeprefix(self._root)
        page = self._below_root if below and "/" not in below else self._at_root
        await self._app({**scope, "headers": kept}, receive, _PageReplacer(send, self._original, page))


class _PageReplacer:
    """Send an answer on, or `page` if the answer is the original one."""

    def __init__(self, send: Send, original: bytes, page: bytes) -> None:
        self._send = send
        self._original, self._page = original, page
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _may_be_page(message, len(self._original)):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body, headers = self._body, start["headers"]
        if body == self._original:
            body = self._page
            outdated = (b"content-length", b"etag", b"last-modified")
            headers = [(name, value) for name, value in headers if name.lower() not in outdated]
            headers.append((b"content-length", str(len(body)).encode()))
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _may_be_page(start: Message, length: int) -> bool:
    headers = {name.lower(): value for name, value in start.get("headers", [])}
    return start["status"] == 200 and headers.get(b"content-length") == str(length).encode()


def _add_to_head(page: bytes, head: str) -> bytes:
    """Add lines at the end of the page's head."""
    return page.replace(b"  </head>", f"{head}  </head>".encode(), 1)


def _head_lines(static: Path) -> Iterator[str]:
    """Yield what is added to the head: what to fetch at once, our scripts and our style."""
    scripts = static / "js"
    for font in (path for name in _FONTS for path in (static / "media").glob(f"{name}.*.woff2")):
        yield f'<link rel="preload" href="./static/media/{font.name}" as="font" type="font/woff2" crossorigin />'
    for script in find_imports(scripts, find_parts(scripts, PARTS)):
        yield f'<link rel="modulepreload" crossorigin href="./static/js/{script}" />'
    idle = [f"./static/js/{part}" for part in find_parts(scripts, PARTS + LATER_PARTS)]
    chart = [f"./static/js/{part}" for part in find_parts(scripts, _CHART_PARTS)]
    yield f"<script>{_LOAD_WHEN_IDLE % (json.dumps(idle), json.dumps(chart))}</script>"
    for script in (_SEARCH_KEYS, _FOCUS_ON_HEADING, _REACHABLE_BOXES):
        yield f"<script>{{{script}}}</script>"
    yield f"<style>\n{_CSS.read_text(encoding='utf-8')}</style>"


def find_parts(scripts: Path, names: Iterable[str]) -> list[str]:
    """List the files of these elements."""
    return [path.name for name in names for path in scripts.glob(f"{name}.*.js")]


def find_imports(scripts: Path, names: Iterable[str]) -> list[str]:
    """List scripts and everything that they import, each once."""
    waiting, found = list(names), dict[str, None]()
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting += _IMPORT.findall((scripts / name).read_text(encoding="utf-8"))
    return list(found)
