"""The HTTP clients: one for the vendors' own addresses, one for addresses that people entered."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast

import httpcore
import httpx

from core.vendors import addresses, proxies
from core.vendors.addresses import Reach
from core.vendors.certificates import check_named, load_trusted
from core.vendors.proxies import Proxies

# What the other rooms call a client: they never import httpx.
HttpClient = httpx.AsyncClient

# httpcore imports sniffio each time it makes a lock, four times a request, and an import that fails searches all
# folders each time: 0.25 ms a request. Once it is known to be missing it is not searched for again.
try:
    import sniffio  # pyright: ignore[reportMissingImports, reportUnusedImport]  # noqa: F401
except ImportError:
    cast("dict[str, object]", sys.modules)["sniffio"] = None


@asynccontextmanager
async def connect_http(*, connections: int = 5) -> AsyncGenerator[HttpClient]:
    """Open an HTTP client for one loop: no redirects, and about as many `connections` are open at a time.

    It asks through the proxies that the environment names. Raises SettingsError when what that names cannot be used.
    """
    limits, used = _limits(connections), proxies.read()
    direct = _ByScheme(partial(httpx.AsyncHTTPTransport, limits=limits, trust_env=False))
    async with _client(_Routed(direct, used, limits) if used.by_scheme else direct) as http:
        yield http


@asynccontextmanager
async def connect_entered(
    reach: Reach, *, connections: int = 5, trusted: ssl.SSLContext | None = None
) -> AsyncGenerator[HttpClient]:
    """Open an HTTP client for addresses that people entered: it connects to what `reach` allows, and to nothing else.

    A name is looked up once, right before connecting, and the very address that was checked is connected to; TLS still
    proves the name. No redirects, and no proxy from the environment: one would look the name up by itself.
    """
    if reach is Reach.ANYWHERE:
        async with connect_http(connections=connections) as http:
            yield http
        return
    async with _client(_ByScheme(partial(_transport, reach, connections), trusted)) as http:
        yield http


def _client(transport: httpx.AsyncBaseTransport) -> HttpClient:
    """Build a client that reads nothing of the environment by itself."""
    return httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, cookies=_no_cookies())


def _no_cookies() -> CookieJar:
    """Make a jar that takes none: a vendor has nothing to keep here, and none of it is sent back."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def _limits(connections: int) -> httpx.Limits:
    return httpx.Limits(max_connections=connections + 2, max_keepalive_connections=connections + 2)


def _transport(reach: Reach, connections: int, *, verify: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    limits = _limits(connections)
    transport = httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)
    # httpx 0.28 has no argument for the backend; the pool is what its transport is made of.
    transport._pool = httpcore.AsyncConnectionPool(  # pyright: ignore[reportPrivateUsage]
        ssl_context=verify,
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections,
        network_backend=_Checked(reach),
    )
    return transport


class _ByScheme(httpx.AsyncBaseTransport):
    """Makes the transport of a scheme when an address of it is first asked.

    Without TLS no certificates are needed, and they take longer to load than a small cohort takes to read.
    """

    def __init__(self, make: Callable[..., httpx.AsyncHTTPTransport], trusted: ssl.SSLContext | None = None) -> None:
        self._make, self._trusted = make, trusted
        self._made = dict[bool, httpx.AsyncHTTPTransport]()
        check_named()

    def over(self, *, tls: bool) -> httpx.AsyncHTTPTransport:
        """Return the transport for addresses with TLS, or without it. Raises SettingsError."""
        if tls not in self._made:
            # The other context trusts no one: it is there because each transport has one.
            context = (self._trusted or load_trusted()) if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._made[tls] = self._make(verify=context)
        return self._made[tls]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on its way."""
        return await self.over(tls=request.url.scheme == "https").handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections of both."""
        for transport in self._made.values():
            await transport.aclose()


class _Routed(httpx.AsyncBaseTransport):
    """Asks each address through the proxy of its scheme, or without one where that is said."""

    def __init__(self, direct: httpx.AsyncBaseTransport, used: Proxies, limits: httpx.Limits) -> None:
        self._direct, self._used = direct, used
        self._through = {
            scheme: httpx.AsyncHTTPTransport(verify=load_trusted(), limits=limits, trust_env=False, proxy=proxy)
            for scheme, proxy in used.by_scheme.items()
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on its way."""
        is_through = self._used.is_asked_through(request.url)
        transport = self._through[request.url.scheme] if is_through else self._direct
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections of all ways."""
        for transport in (self._direct, *self._through.values()):
            await transport.aclose()


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked up and checked here, never to a name."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._plain = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look the name up, check every address it leads to, and connect to the first that answers."""
        try:
            async with asyncio.timeout(timeout):
                places = await addresses.resolve(host, port)
        except TimeoutError as exc:
            raise httpcore.ConnectTimeout("The name could not be looked up in time.") from exc
        except OSError as exc:
            raise httpcore.ConnectError("The name could not be looked up.") from exc
        addresses.require_reach(places, self._reach)
        failed: Exception | None = None
        for place in places:
            try:
                return await self._plain.connect_tcp(str(place), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failed = exc
        raise failed or httpcore.ConnectError("The name leads nowhere.")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: an entered address is never one."""
        raise httpcore.ConnectError("Only addresses of the network are connected to.")

    async def sleep(self, seconds: float) -> None:
        """Wait, for the pool's retries."""
        await asyncio.sleep(seconds)
