"""Files that browsers send: taken only for a page that shows a field for one, and only so much of them at a time.

Streamlit holds them in memory, and would take them from anyone who has a connection open. So a page says here that it
shows its field, and to whom; before a file is read it is asked again whether that person may send one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.runtime.scriptrunner import RerunException, get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
from streamlit.runtime.stats import CacheStat
from streamlit.runtime.uploaded_file_manager import UploadedFileManager
from streamlit.url_util import make_url_path

from core.access import roles
from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError

# All files together, those that arrive and those that a page still shows: with the 250 MB that the dashboard needs
# itself, it stays below one gigabyte.
MOST_OF_ALL = 512 * 2**20
# The lines around a file in what a browser sends.
_FRAMING = 2**20
# Visits that end without a word must not fill the memory.
_MOST_OFFERS = 1000
# A browser that takes another file instead breaks off the first one; that is noticed a moment later.
_OTHER_ENDS_WITHIN_S = 3.0
_NOTHING_COMES_S = 60.0


@dataclass(frozen=True)
class Offer:
    """To whom a session shows a field for a file."""

    bridge: Bridge
    person: Actor

    def check(self) -> None:
        """Look the person up again. Raises CohortBridgeError when they may not associate (any more)."""
        roles.check(self.bridge, self.person, Role.ANALYST, "upload_file")


@dataclass
class _Arrival:
    """A file that is on its way, and the room that it was given."""

    size: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class UploadRefused(Exception):
    """A file is not taken: the status and the sentence of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Uploads:
    """The sessions that show a field for a file, and the files on their way to them."""

    def __init__(self) -> None:
        self._offers: dict[str, Offer] = {}
        self._lock = threading.Lock()
        self._drawn = set[str]()
        self._arriving: dict[str, _Arrival] = {}

    def begin(self, session: str) -> None:
        """Note that a page is drawn again: until it has been, what it showed before still counts."""
        self._drawn.discard(session)

    def offer(self, session: str, offer: Offer) -> None:
        """Note that the page shows its field; the oldest session gives way when there are too many."""
        self._drawn.add(session)
        with self._lock:  # pages are drawn in threads: what one finds to be the oldest another may just take out
            self._offers.pop(session, None)
            while len(self._offers) >= _MOST_OFFERS:
                del self._offers[next(iter(self._offers))]
            self._offers[session] = offer

    def settle(self, session: str) -> bool:
        """Note that the page has been drawn. Returns whether it no longer shows the field that it showed before."""
        if session in self._drawn:
            self._drawn.discard(session)
            return False
        with self._lock:
            return self._offers.pop(session, None) is not None

    def room(self, kept: int) -> int:
        """Return how many bytes more may arrive beside those that are kept."""
        return MOST_OF_ALL - kept - sum(arrival.size for arrival in list(self._arriving.values()))

    async def admit(self, session: str) -> Offer:
        """Return the offer that a file comes for. Raises UploadRefused."""
        offer = self._offers.get(session)
        if offer is None:
            raise UploadRefused(403, "This page takes no file: open Matching, Associate by hand, and choose it there.")
        if earlier := self._arriving.get(session):
            try:
                async with asyncio.timeout(_OTHER_ENDS_WITHIN_S):
                    await earlier.ended.wait()
            except TimeoutError:
                pass
            if session in self._arriving:
                raise UploadRefused(409, "Another file of this page is on its way: wait until it has arrived.")
        return offer

    @contextmanager
    def arriving(self, session: str) -> Generator[_Arrival]:
        """Keep room for a file while it is on its way."""
        arrival = self._arriving[session] = _Arrival()
        try:
            yield arrival
        finally:
            del self._arriving[session]
            arrival.ended.set()

    def grow(self, arrival: _Arrival, size: int, kept: int) -> None:
        """Give a file that much room in all. Raises UploadRefused when there is not so much."""
        most = st.get_option("server.maxUploadSize") * 2**20
        if size > most + _FRAMING:
            raise UploadRefused(413, f"The file is larger than {most // 2**20} MB: split it.")
        if size - arrival.size > self.room(kept):
            raise UploadRefused(503, "Other files take all the room just now: try again in some minutes.")
        arrival.size = size


UPLOADS = Uploads()


class UploadGuard:
    """Refuse files before they are read, all but those that a page with a field for them waits for."""

    def __init__(self, app: ASGIApp, uploads: Uploads = UPLOADS, kept: Callable[[], int] | None = None) -> None:
        self._app = app
        self._uploads = uploads
        self._kept = kept or kept_bytes
        self._path = make_url_path(st.get_option("server.baseUrlPath") or "", "_stcore/upload_file/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "PUT" or not scope["path"].startswith(self._path):
            await self._app(scope, receive, send)
            return
        session = scope["path"].removeprefix(self._path).partition("/")[0]
        try:
            await self._take(session, scope, receive, send)
        except UploadRefused as exc:
            # Of whom the page knows the browser shows the answer, once it has sent all, which is let fall as it comes.
            headers = {"Connection": "close"} if exc.status == 403 else None  # noqa: PLR2004
            await PlainTextResponse(f"{exc.text}\n", exc.status, headers)(scope, receive, send)

    async def _take(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        offer = await self._uploads.admit(session)
        with self._uploads.arriving(session) as arrival:
            announced = Request(scope).headers.get("content-length", "")
            self._uploads.grow(arrival, int(announced) if announced.isdecimal() else 0, self._kept())
            try:
                await run_in_threadpool(offer.check)
            except CohortBridgeError as exc:
                raise UploadRefused(403, f"{exc.message} {exc.advice}".strip()) from None
            await self._app(scope, self._counting(receive, arrival), send)

    def _counting(self, receive: Receive, arrival: _Arrival) -> Receive:
        arrived = 0

        async def receive_counted() -> Message:
            nonlocal arrived
            try:
                async with asyncio.timeout(_NOTHING_COMES_S):
                    message = await receive()
            except TimeoutError:
                raise UploadRefused(408, "Nothing more of the file came: choose it again.") from None
            arrived += len(message.get("body", b""))
            # What was not announced is given room as it comes.
            if arrived > arrival.size:
                self._uploads.grow(arrival, arrived, self._kept())
            return message

        return receive_counted


def kept_bytes() -> int:
    """Return how much memory the files take that have arrived."""
    return _size(runtime.get_instance().uploaded_file_mgr)


def _size(files: UploadedFileManager) -> int:
    stats = [stat for family in files.get_stats().values() for stat in family]
    return sum(stat.byte_length for stat in stats if isinstance(stat, CacheStat))


def offer(bridge: Bridge, person: Actor) -> bool:
    """Say that the page shows a field for a file: until it is drawn without one, this person may send some.

    Returns whether there is room for the largest.
    """
    context = get_script_run_ctx()
    if context is None:
        return True
    UPLOADS.offer(context.session_id, Offer(bridge, person))
    return UPLOADS.room(_size(context.uploaded_file_mgr)) > st.get_option("server.maxUploadSize") * 2**20


@contextmanager
def watch() -> Generator[None]:
    """Watch a page being drawn: where it shows no field for a file, none is taken, and what was sent is forgotten."""
    context = get_script_run_ctx()
    if context is None:
        yield
        return
    UPLOADS.begin(context.session_id)
    try:
        yield
    except RerunException:
        raise  # it is drawn again at once, and that decides
    except BaseException:
        _settle(context)
        raise
    _settle(context)


def _settle(context: ScriptRunContext) -> None:
    if UPLOADS.settle(context.session_id):
        context.uploaded_file_mgr.remove_session_files(context.session_id)
