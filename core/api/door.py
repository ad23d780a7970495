"""The door of the HTTP API: whose token counts, which addresses there are, and what is never taken.

While no token counts it is as if nothing were here. Only a token opens it, sent in the header that no page of a browser
sends for another site; nothing is told to browsers that would let them (no CORS).
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from core.access import tokens
from core.access.roles import Actor
from core.access.tokens import Asker
from core.api import answers
from core.api.asked import Asked, Places
from core.api.protocol import SENT_WITHIN_S
from core.api.responses import HttpProblem, error_response
from core.api.tries import Tries
from core.bridge import Bridge
from core.errors import CohortBridgeError, StorageFailed, TokenRefused, Unforeseen
from core.threads import in_own_thread

log = logging.getLogger(__name__)

PREFIX = b"/api/"
# No address needs a body; what some clients send all the same is this short.
_MOST_BODY = 1024
_NOTE_EVERY_S = 60.0

Answer = Callable[[Asked], Awaitable[Response]]
# Matched with the address as it was sent: what is encoded in a part of it never becomes more parts.
_ROUTES: tuple[tuple[str, re.Pattern[str], Answer], ...] = (
    ("GET", re.compile(r"/api/v1/openapi\.json"), answers.show_openapi),
    ("GET", re.compile(r"/api/v1/syncs"), answers.list_syncs),
    ("POST", re.compile(r"/api/v1/syncs/(?P<sync_id>[^/]+)/runs"), answers.queue_run),
    ("GET", re.compile(r"/api/v1/runs/(?P<run_id>[^/]+)"), answers.show_run),
    ("GET", re.compile(r"/api/v1/groups"), answers.list_groups),
    ("GET", re.compile(r"/api/v1/groups/(?P<group_id>[^/]+)/members/(?P<member_id>[^/]+)"), answers.show_member),
)


class Door:
    """Answers what is asked below /api."""

    def __init__(self, bridge: Bridge, places: Places) -> None:
        self._bridge = bridge
        self._tries = Tries(bridge.clock.steady_s)
        self._places = places
        self._noted_s = dict[tuple[str, str], float]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        with suppress(ClientDisconnect):
            response = await self._respond(request)
            if _has_body(request) and response.status_code >= 400:
                response.headers["Connection"] = "close"  # what was not taken of it is not waited for
            await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            with self._places.askers.taken():
                return await self._open_for(request)
        except CohortBridgeError as exc:
            return error_response(exc)
        except ClientDisconnect:
            raise
        except Exception as exc:
            # Neither the address nor the error's own text: ids of people may be in both.
            log.error("request failed in an unexpected way error=%s", type(exc).__name__)
            log.debug("unexpected", exc_info=True)
            return error_response(Unforeseen(f"This failed in an unexpected way ({type(exc).__name__})."))

    async def _open_for(self, request: Request) -> Response:
        asker = await self._ask(partial(tokens.find_asker, self._bridge, _token_of(request)))
        if not asker.is_open:
            return PlainTextResponse("Not Found", 404)  # as every address where nothing is
        actor = await self._admit(asker, request)
        await _drop_body(request)
        return await self._answer(actor, request)

    async def _ask(self, call: Callable[[], Asker]) -> Asker:
        try:
            async with self._places.threads:
                return await in_own_thread(call)
        except StorageFailed as exc:
            # Whoever asks may be a stranger, who is told no more than by /readyz.
            raise StorageFailed("The database cannot be used.", advice="Look into the worker's log.") from exc

    async def _admit(self, asker: Asker, request: Request) -> Actor:
        """Return who acts. Raises TokenRefused, HttpProblem when too many tokens were tried."""
        sent_by = request.client.host if request.client else ""
        # One that is known is no guess: it counts for itself, and not for all who ask from there.
        who = sent_by if asker.token_id is None or asker.actor else asker.token_id
        # One that counted before is let through when others behind the same address, a proxy's perhaps, try too many.
        wait_s = None if asker.actor and asker.has_counted else self._tries.wait_s(who)
        if wait_s and request.headers.get("authorization") is not None:
            raise HttpProblem(
                429,
                "too_many_tries",
                "Too many requests were sent with a token that does not count.",
                advice="Correct the token, and ask again after the time in Retry-After.",
                headers={"Retry-After": str(wait_s)},
            )
        if asker.actor:
            return asker.actor
        if request.headers.get("authorization") is not None:
            self._tries.count(who)
            await self._note(asker)
        raise asker.refused or TokenRefused("A token is needed.")

    async def _note(self, asker: Asker) -> None:
        """Record a refusal, not each of many: that would have the database write as often as strangers like."""
        now_s, what = self._bridge.clock.steady_s(), (asker.name, str(asker.refused))
        if now_s - self._noted_s.get(what, -math.inf) >= _NOTE_EVERY_S:
            self._noted_s[what] = now_s
            async with self._places.threads:
                await in_own_thread(partial(tokens.note_refused, self._bridge, asker))

    async def _answer(self, actor: Actor, request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii", "replace")
        allowed = list[str]()
        for method, pattern, answer in _ROUTES:
            if match := pattern.fullmatch(path):
                asked = Asked(self._bridge, actor, request, match.groupdict(), self._places)
                if request.method == method or (method, request.method) == ("GET", "HEAD"):
                    return await answer(asked)
                allowed += ["GET", "HEAD"] if method == "GET" else [method]
        if allowed:
            raise HttpProblem(
                405,
                "method_not_allowed",
                "This address does not take this method.",
                advice="See GET /api/v1/openapi.json.",
                headers={"Allow": ", ".join(allowed)},
            )
        raise HttpProblem(404, "not_found", "There is no such address.", advice="See GET /api/v1/openapi.json.")


def _token_of(request: Request) -> str | None:
    """Return what was sent as a token: an empty text for what cannot be one, None where nothing was sent."""
    sent = request.headers.getlist("authorization")
    if not sent:
        return None
    kind, _, text = sent[0].partition(" ")
    return text.strip() if len(sent) == 1 and kind.lower() == "bearer" else ""


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


async def _drop_body(request: Request) -> None:
    """Take a short body and drop it. Raises HttpProblem for a long one, and for one that does not come."""
    size = 0
    try:
        async with asyncio.timeout(SENT_WITHIN_S):
            if int(request.headers.get("content-length", "0")[:20]) > _MOST_BODY:
                raise _too_large()
            async for part in request.stream():
                size += len(part)
                if size > _MOST_BODY:
                    raise _too_large()
    except TimeoutError:
        raise HttpProblem(
            408, "too_slow", "The body of the request did not come in time.", advice="Send none: none is needed."
        ) from None


def _too_large() -> HttpProblem:
    return HttpProblem(
        413, "body_too_large", "The body of the request is too large.", advice="Send none: none is needed."
    )
