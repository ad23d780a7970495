"""The sandbox as one server: stand-ins for Mixpanel and Apptimize on loopback."""

import contextlib
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from core.sandbox import control, pages, people, receivers
from core.sandbox.apptimize import Apptimize
from core.sandbox.faults import Faults
from core.sandbox.ingestion import Ingestion
from core.sandbox.mixpanel import Mixpanel
from core.sandbox.project import Project
from core.sandbox.receivers import Receivers
from core.sandbox.store import SandboxError, Store
from core.sandbox.wire import MAX_BODY_BYTES, RequestLog, ResettableProtocol, Service, exchange

__all__ = ["Running", "Sandbox", "SandboxError", "create_app", "running", "serve"]

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = [LOOPBACK, "localhost", "::1", "[::1]"]


class Sandbox:
    """Both stand-ins, and what they share: state, clock, faults, request log."""

    def __init__(self, home: Path, profiles: Path | None, cohorts: Path | None, clock: Callable[[], float]) -> None:
        if (profiles is None) != (cohorts is None):
            raise SandboxError("Your own people need both files: profiles and cohorts.")
        own = people.load(profiles, cohorts) if profiles and cohorts else None
        self.store = Store(home / "sandbox.db")
        self.log = RequestLog()
        self.faults = Faults(self.store)
        self.project = Project(self.store, own, clock)
        self.mixpanel = Mixpanel(self.project)
        self.ingestion = Ingestion(self.project)
        self.apptimize = Apptimize(self.store, self.project.now)
        # In a file of its own: no group of theirs is one of Apptimize's.
        self.receivers_store = Store(home / "receivers.db")
        self.receivers = Receivers(self.receivers_store, self.project.now)

    def close(self) -> None:
        self.store.close()
        self.receivers_store.close()


class OwnOriginOnly:
    """Refuse what another site's page would have the browser change here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            headers = Request(scope).headers
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                await PlainTextResponse("Requests from other sites are refused.", 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def create_app(
    home: Path, *, profiles: Path | None = None, cohorts: Path | None = None, clock: Callable[[], float] = time.time
) -> Starlette:
    """Make the application; its state is kept in `<home>/sandbox.db` and `receivers.db`, and closed with the server.

    Raises: SandboxError when the files of people or the state cannot be used.
    """
    sandbox = Sandbox(home, profiles, cohorts, clock)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        sandbox.close()

    app = Starlette(
        routes=[
            *_vendor_routes(sandbox),
            *control.routes(sandbox),
            *pages.routes(sandbox),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_NAMES, www_redirect=False),
            Middleware(OwnOriginOnly),
        ],
        lifespan=lifespan,
        max_body_size=MAX_BODY_BYTES,
    )
    app.state.sandbox = sandbox
    return app


def _vendor_routes(sandbox: Sandbox) -> list[BaseRoute]:
    mixpanel, ingestion = sandbox.mixpanel, sandbox.ingestion
    listed: list[tuple[str, Service, list[str]]] = [
        ("/apptimize/cohort-sync", sandbox.apptimize.cohort_sync, ["GET", "POST"]),
        (f"{receivers.PATH}/{{name}}", sandbox.receivers.cohort_sync, ["POST"]),
        (f"{receivers.PATH}/{{name}}/{{secret}}", sandbox.receivers.cohort_sync, ["POST"]),
        ("/api/app/me", mixpanel.me, ["GET"]),
        ("/api/app/projects/{id}/service-accounts", mixpanel.service_accounts, ["GET"]),
        ("/api/app/projects/{id}/cohorts", mixpanel.app_cohorts, ["GET"]),
        ("/engage", ingestion.engage, ["POST"]),
        ("/track", ingestion.track, ["POST"]),
        ("/import", ingestion.import_, ["POST"]),
    ]
    # Most clients still use the older spelling, some with a slash at the end.
    for prefix in ("/api/query", "/api/2.0"):
        listed.append((f"{prefix}/cohorts/list", mixpanel.list_cohorts, ["GET", "POST"]))
        listed.append((f"{prefix}/engage", mixpanel.engage, ["GET", "POST"]))
        listed.append((f"{prefix}/engage/properties", mixpanel.profile_properties, ["GET"]))
        listed.append((f"{prefix}/events/properties/top", mixpanel.event_properties, ["GET"]))

    def endpoint(service: Service) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return await exchange(service, request, sandbox.faults, sandbox.log)

        return answer

    return [
        Route(path + slash, endpoint(service), methods=methods)
        for path, service, methods in listed
        for slash in ("", "/")
    ]


class _Server(uvicorn.Server):
    """Uvicorn, ending at once, and with status 0, when it is asked to end: it would raise the signal again."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=ResettableProtocol,
                ws="none",
                loop="asyncio",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._sandbox: Sandbox = app.state.sandbox

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._sandbox.faults.stopping.set()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _listen(port: int) -> socket.socket:
    # With the protocol named, asyncio switches Nagle's delay of 40 ms off on every connection.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen(512)
    except (OSError, OverflowError) as error:
        listening.close()
        raise SandboxError(f"The sandbox cannot use port {port} of this machine: {error}.") from error
    return listening


def serve(*, port: int = 8600, home: Path, profiles: Path | None = None, cohorts: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT, on loopback only.

    Raises: SandboxError when the port is taken, or the files of people or the state cannot be used.
    """
    with _listen(port) as listening:
        _Server(create_app(home, profiles=profiles, cohorts=cohorts)).run(sockets=[listening])


@dataclass(frozen=True)
class Running:
    """A sandbox that answers at `url`."""

    url: str


@contextlib.contextmanager
def running(home: Path, **options: Any) -> Generator[Running]:
    """Serve from a thread on a free port while the block runs; options as for `create_app`."""
    with _listen(0) as listening:
        server = _Server(create_app(home, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="sandbox", daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield Running(f"http://{LOOPBACK}:{listening.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(10)
