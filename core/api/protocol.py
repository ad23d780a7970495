"""HTTP as uvicorn speaks it, with an end to senders that take their time, and to readers that do."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# A request has arrived by then, from its first byte or the connection's begin, and an answer was taken.
SENT_WITHIN_S = 10.0
_READ_WITHIN_S = 30.0


class ImpatientProtocol(H11Protocol):
    """One connection. What comes slowly, or is taken slowly, does not keep a place for ever."""

    _sent_by: asyncio.TimerHandle | None = None
    _read_by: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request: the whole of it stops the clock."""
        was_idle = self._sent_by is None
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_waiting()
        elif was_idle and not self.transport.is_closing():
            self._await_request()

    def pause_writing(self) -> None:
        """Begin to wait for a reader who does not take what is there."""
        super().pause_writing()
        if self._read_by is None:
            self._read_by = self.loop.call_later(_READ_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on with a reader who took something."""
        super().resume_writing()
        if self._read_by is not None:
            self._read_by.cancel()
            self._read_by = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End the waiting."""
        self._stop_waiting()
        if self._read_by is not None:
            self._read_by.cancel()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._stop_waiting()
        self._sent_by = self.loop.call_later(SENT_WITHIN_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._sent_by is not None:
            self._sent_by.cancel()
            self._sent_by = None
