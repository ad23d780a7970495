"""What is answered over HTTP: whether the process is alive, whether it can work, numbers, and the API for pipelines."""

from __future__ import annotations

import asyncio
import hmac
from functools import partial

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core.api.asked import Places
from core.api.door import PREFIX, Door
from core.api.metrics import Metrics
from core.api.readiness import Readiness, look
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.hosts import is_loopback_host
from core.threads import in_own_thread

# What this machine is called by those who ask from it: another name leads here from a page of somebody else's.
_NAMES_OF_THIS_MACHINE = ["localhost", "127.0.0.1", "[::1]"]
# Who reads numbers at a time: each look at them asks the database much.
_MOST_READERS = 4
_FRESH = {"Cache-Control": "no-store"}


def create_app(bridge: Bridge, *, host: str, places: Places) -> ASGIApp:
    """Make the application that a worker serves at a host.

    `/healthz` says that the process answers, `/readyz` (200, with what it should be told of all the same, or 503 with
    the reasons) that it can work, and `/metrics` what there is to count, in the text format of Prometheus or in
    OpenMetrics. With a token set, sentences and numbers are only for who has it. What lies below `/api/` has a door of
    its own, which another token opens.
    """
    names = [*_NAMES_OF_THIS_MACHINE, f"[{host}]" if ":" in host else host] if is_loopback_host(host) else ["*"]
    asked = _Probes(bridge)
    probes = Starlette(
        routes=[Route("/healthz", asked.healthz), Route("/readyz", asked.readyz), Route("/metrics", asked.metrics)]
    )
    probes.router.redirect_slashes = False  # an address is what was sent
    door = Door(bridge, places)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        is_api = scope["type"] == "http" and scope.get("raw_path", b"").startswith(PREFIX)
        await (door if is_api else probes)(scope, receive, send)

    return TrustedHostMiddleware(serve, allowed_hosts=names, www_redirect=False)


class _Probes:
    """Health and numbers: answered however many ask, and whatever a database does that hangs."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._metrics = Metrics(bridge)
        self._readers_left = _MOST_READERS
        self._looking: asyncio.Future[Readiness] | None = None

    async def healthz(self, _: Request) -> Response:
        """Say that the process answers."""
        return JSONResponse({"status": "ok"}, headers=_FRESH)

    async def readyz(self, request: Request) -> Response:
        """Say whether it can work. It is looked once for all who ask meanwhile."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(in_own_thread(partial(look, self._bridge)))
        readiness = await asyncio.shield(self._looking)
        troubles = readiness.troubles
        body: dict[str, object] = {"status": "not ready" if troubles else "ready"}
        if _may_read(self._bridge, request):
            body["troubles"] = troubles
            if readiness.warnings:
                body["warnings"] = readiness.warnings
        return JSONResponse(body, 503 if troubles else 200, headers=_FRESH)

    async def metrics(self, request: Request) -> Response:
        """Answer with the numbers, to so many at a time."""
        if not _may_read(self._bridge, request):
            return JSONResponse(
                {"error": "Send the token of COHORT_BRIDGE_METRICS_TOKEN as Authorization: Bearer."},
                401,
                headers={**_FRESH, "WWW-Authenticate": "Bearer"},
            )
        if not self._readers_left:
            return JSONResponse({"error": "Too many read them at a time."}, 503, headers={**_FRESH, "Retry-After": "5"})
        encode, content_type = choose_encoder(request.headers.get("accept", ""))

        def read() -> bytes:
            with self._metrics.read() as registry:
                return encode(registry)

        self._readers_left -= 1
        try:
            return Response(await in_own_thread(read), media_type=content_type, headers=_FRESH)
        except CohortBridgeError as exc:
            return JSONResponse({"error": exc.message, "advice": exc.advice}, 503, headers=_FRESH)
        finally:
            self._readers_left += 1


def _may_read(bridge: Bridge, request: Request) -> bool:
    token = bridge.settings.metrics_token
    if token is None:
        return True
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    wanted = token.get_secret_value().encode()
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1", "replace"), wanted)
