"""One line an event, with stable keys; secrets and personal data stay out."""

from __future__ import annotations

import logging
import re
import sys

_SECRET = re.compile(r"(?i)\b(authorization|token|secret|password|apptimizeapitoken|api_key)\b(\s*[=:]\s*)(\S+)")
_USERINFO = re.compile(r"://[^/\s@]+@")
# Where a URL has a query it may carry credentials or ids: neither is needed to understand an event.
_QUERY = re.compile(r"(https?://[^\s?]+)\?\S+")


def redact(text: str) -> str:
    """Replace what could be a secret in a line of text."""
    text = _USERINFO.sub("://***@", text)
    text = _QUERY.sub(r"\1?***", text)
    return _SECRET.sub(r"\1\2***", text)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure(level: str = "INFO") -> None:
    """Send this process's events to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.getLevelNamesMapping().get(level.upper(), logging.INFO))
    # These log one line a request, with the URL.
    for noisy in ("httpx", "httpcore", "alembic", "schedule"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Tries that are repeated are logged by the run that repeats them.
    logging.getLogger("stamina").setLevel(logging.ERROR)
