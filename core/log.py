"""One line an event, with stable keys; secrets and personal data stay out."""

from __future__ import annotations

import logging
import re
import sys
import textwrap

from core.text import harmless

_SECRET = re.compile(r"(?i)\b(authorization|token|secret|password|apptimizeapitoken|api_key)\b(\s*[=:]\s*)(\S+)")
_USERINFO = re.compile(r"://[^/\s@]+@")
# Where a URL has a query it may carry credentials or ids: neither is needed to understand an event.
_QUERY = re.compile(r"(https?://[^\s?]+)\?\S+")

# Of these, which connect again by themselves every second, a line says that a server is away; no traceback says more.
_CONNECT_AGAIN, _LOST = ("procrastinate.", "psycopg.pool"), ("ConnectorException", "OperationalError")


def redact(text: str) -> str:
    """Replace what could be a secret in a line of text."""
    text = _USERINFO.sub("://***@", text)
    text = _QUERY.sub(r"\1?***", text)
    return _SECRET.sub(r"\1\2***", text)


class _Redacting(logging.Formatter):
    """One event a line: text of other origin begins none of its own, nor does the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [harmless(self.formatMessage(record))]
        if record.exc_info and not _is_of_a_lost_connection(record):  # not what another handler made of it
            traceback = harmless(self.formatException(record.exc_info), keep="\n")
            lines.append(textwrap.indent(traceback, "  ", lambda _: True))
        return redact("\n".join(lines))


def _is_of_a_lost_connection(record: logging.LogRecord) -> bool:
    error = record.exc_info[0] if record.exc_info else None
    return record.name.startswith(_CONNECT_AGAIN) and error is not None and error.__name__ in _LOST


def configure(level: str = "INFO", *, without: str = "") -> None:
    """Send this process's events to standard error, but those of one module, which is told of in another way."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: record.name != without)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # These log one line a request, with the URL.
    for noisy in ("httpx", "httpcore", "alembic", "schedule", "psycopg", "procrastinate"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Tries that are repeated are logged by the run that repeats them.
    logging.getLogger("stamina").setLevel(logging.ERROR)
