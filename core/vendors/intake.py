"""Where every answer of either vendor comes in: bounded in bytes and time, with one end for whatever it holds."""

from __future__ import annotations

import asyncio
import json
import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import httpx

from core.errors import CohortBridgeError, SettingsError, VendorError, VendorSurprise, VendorUnavailable

# What is read of an answer whose status says that it failed: enough for a reason.
_ERROR_BYTES = 64 * 2**10
# zlib's word for "gzip or zlib, whichever the header says".
_GZIP_OR_ZLIB = 47
_MOST_MEMBERS = 1000
_NAME_DIFFERS, _EXPIRED = 62, 10  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_CERT_HAS_EXPIRED

T = TypeVar("T")


class Answer(NamedTuple):
    """An answer that was taken in whole. Of a failure that says very much the body is empty."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300


class Bounds(NamedTuple):
    """What one answer may take: bytes after decompression (0: its body is not read), and seconds to its last byte."""

    most_bytes: int
    within_s: float


@dataclass(frozen=True)
class Sender:
    """Whose answers come in, and how errors speak of it: `codes` begins the code of each."""

    name: str
    codes: str
    unconnected: str
    unreadable: str
    unreadable_advice: str | None = None

    def build(self, http: httpx.AsyncClient, method: str, url: str, **options: Any) -> httpx.Request:
        """Build a request. Raises SettingsError."""
        try:
            return http.build_request(method, url, **options)
        except httpx.InvalidURL as exc:
            raise self._no_address() from exc

    def template(self, http: httpx.AsyncClient, method: str, url: str, **options: Any) -> httpx.Request:
        """Build what the requests of one kind have in common, to be `filled`. Raises SettingsError."""
        template = self.build(http, method, url, **options)
        template.headers.pop("Content-Length", None)
        return template

    async def exchange(self, http: httpx.AsyncClient, request: httpx.Request, bounds: Bounds) -> Answer:
        """Send a request and take its answer in.

        Raises: VendorUnavailable when no answer arrived in time, VendorSurprise when it is larger than it may be or
        cannot be unpacked, VendorError when the other end does not prove its name, SettingsError.
        """
        request.headers["Accept-Encoding"] = "gzip"  # what is unpacked here, within bounds
        status: int | None = None
        try:
            async with asyncio.timeout(bounds.within_s):
                response = await http.send(request, stream=True)
                status = response.status_code
                try:
                    read = _read if response.is_success else _read_failure
                    return Answer(status, response.headers, await read(response, bounds.most_bytes))
                finally:
                    await response.aclose()
        except (CohortBridgeError, MemoryError):
            raise
        except httpx.UnsupportedProtocol as exc:
            raise self._no_address() from exc
        except (TimeoutError, httpx.HTTPError) as exc:
            raise self._unreachable(exc) from exc
        except Exception as exc:
            raise self.surprise(status) from exc

    def understand(self, parse: Callable[[bytes], T], body: bytes, status: int | None = None) -> T:
        """Read a body; whatever goes wrong with it is the sender's surprise, however it was put together."""
        try:
            return parse(body)
        except (CohortBridgeError, MemoryError):
            raise
        except Exception as exc:
            raise self.surprise(status) from exc

    def surprise(self, status: int | None = None) -> VendorSurprise:
        """Build the error of an answer that is not what is documented."""
        code = f"{self.codes}_unreadable_answer"
        return VendorSurprise(self.unreadable, advice=self.unreadable_advice, code=code, status=status)

    def _no_address(self) -> SettingsError:
        return SettingsError(f"The address of {self.name} is not one of the web.", code="bad_setting")

    def _unreachable(self, exc: Exception) -> VendorError:
        if untrusted := _certificate_error(exc):
            return VendorError(
                f"The certificate of {self.name} {_certificate_fault(untrusted)}.",
                advice="If a proxy of your own stands between, set SSL_CERT_FILE to a file with its certificate and "
                "the usual ones, then start Cohort Bridge again.",
                code=f"{self.codes}_untrusted_certificate",
            )
        if isinstance(exc, TimeoutError | httpx.TimeoutException):
            sentence = f"{self.name[0].upper()}{self.name[1:]} did not answer in time."
        elif isinstance(exc, httpx.ConnectError):
            sentence = self.unconnected
        else:
            sentence = f"The connection to {self.name} broke."
        return VendorUnavailable(sentence, code=f"{self.codes}_unreachable")


def filled(template: httpx.Request, content: bytes | None) -> httpx.Request:
    """Build a request with this content; address and headers, which take longest, are the template's."""
    return httpx.Request(
        template.method, template.url, headers=template.headers, content=content, extensions=template.extensions
    )


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body holds; anything else, however it was put together, counts as an empty one."""
    try:
        value: Any = json.loads(body)
    except MemoryError:
        raise
    except Exception:  # not JSON, numbers without end, nested beyond reason
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


async def _read(response: httpx.Response, most: int) -> bytes:
    """Read a body while it stays within `most` bytes, packed or not."""
    if not most:
        return b""
    unpack = _unpacker(response.headers.get("Content-Encoding", ""))
    body, packed = bytearray(), 0  # not a list of parts: of one byte each they would take fifty times the room
    async for chunk in cast("httpx.AsyncByteStream", response.stream):
        packed += len(chunk)
        body += unpack.take(chunk, most - len(body)) if unpack else chunk
        if len(body) > most or packed > most:
            raise ValueError("an answer without an end")
    if unpack:
        unpack.finish()
    return bytes(body)


async def _read_failure(response: httpx.Response, most: int) -> bytes:
    """Read the reason of a failure; where that is endless or not readable, the status is enough."""
    try:
        return await _read(response, min(most, _ERROR_BYTES))
    except (ValueError, EOFError, zlib.error):
        return b""


class _Unpacker:
    """Unpacks gzip as it arrives, and no more of it than there is room for: a small chunk can hold a thousandfold."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._ended = 0
        self._has_begun = False

    def take(self, chunk: bytes, room: int) -> bytes:
        """Unpack a chunk up to one byte past the room."""
        unpacked = b""
        while chunk and len(unpacked) <= room:
            if self._member.eof:
                self._ended += 1
                if self._ended > _MOST_MEMBERS:  # packed nothing takes no room, only time
                    raise ValueError("an answer without an end")
                self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
            self._has_begun = True
            unpacked += self._member.decompress(chunk, room + 1 - len(unpacked))
            chunk = self._member.unconsumed_tail or self._member.unused_data
        return unpacked

    def finish(self) -> None:
        """Make sure that the last byte was there. Raises EOFError."""
        if self._has_begun and not self._member.eof:
            raise EOFError("a packed body that was cut off")


def _unpacker(encoding: str) -> _Unpacker | None:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError("packed in a way that was not asked for")
    return _Unpacker()


def _certificate_error(exc: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Find what a client's error of the network came from."""
    while exc is not None:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return exc
        exc = exc.__cause__ or exc.__context__
    return None


def _certificate_fault(exc: ssl.SSLCertVerificationError) -> str:
    faults = {_NAME_DIFFERS: "is another server's", _EXPIRED: "has expired"}
    return faults.get(exc.verify_code, "is not trusted on this machine")
