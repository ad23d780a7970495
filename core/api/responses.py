"""What the HTTP API answers with: JSON, and errors as JSON, each with its status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from core.errors import (
    CohortBridgeError,
    NotAllowed,
    NotFound,
    ReceiverShared,
    RunAlreadyActive,
    SettingsError,
    StorageFailed,
    SyncGone,
    TokenRefused,
)

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
# The status of each kind of failure: the first that fits.
_STATUSES: tuple[tuple[type[CohortBridgeError], int], ...] = (
    (SyncGone, 409),
    (RunAlreadyActive, 409),
    (ReceiverShared, 409),
    (SettingsError, 400),
    (NotFound, 404),
    (TokenRefused, 401),
    (NotAllowed, 403),
    (StorageFailed, 503),
)
# Where the code that commands print of a failure tells less than the status does.
_CODES: dict[type[CohortBridgeError], str] = {SyncGone: "sync_removed"}


class HttpProblem(CohortBridgeError):
    """A request that cannot be answered for a reason of HTTP's."""

    def __init__(
        self, status: int, code: str, message: str, *, advice: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, advice=advice, code=code)
        self.status = status
        self.headers = dict(headers or {})


def json_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a JSON document, in ASCII: names in it may hold what UTF-8 has no bytes for."""
    body = json.dumps(document).encode()
    return Response(body, status, headers={**_HEADERS, **(headers or {})}, media_type="application/json")


def error_response(exc: CohortBridgeError) -> Response:
    """Answer with a failure and what to do about it."""
    headers, status = dict[str, str](), 500
    if isinstance(exc, HttpProblem):
        status, headers = exc.status, exc.headers
    else:
        status = next((status for kind, status in _STATUSES if isinstance(exc, kind)), 500)
    code = next((code for kind, code in _CODES.items() if isinstance(exc, kind)), exc.code)
    if status == 401:
        headers = {**headers, "WWW-Authenticate": 'Bearer realm="cohort-bridge"'}
    error = {"code": code, "message": exc.message, "advice": exc.advice}
    return json_response({"error": error}, status, headers)
