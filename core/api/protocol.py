"""HTTP as uvicorn speaks it, with an end to senders that take their time, to readers that do, and to too many."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

# A request has arrived by then, from its first byte or the connection's begin.
SENT_WITHIN_S = 10.0
# How often it is looked whether an answer is being taken: at the second look that sees no difference it is dropped.
READ_LOOK_EVERY_S = 15.0
# Of more connections, the one that has asked nothing for longest makes room: who is new is answered, a probe too.
MOST_CONNECTIONS = 256
_NO_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
# Most are answered at once, or refused: by then there is one that is not being answered.
_ROOM_WITHIN_S = 0.25


class ImpatientProtocol(H11Protocol):
    """One connection. What comes slowly, is taken slowly, or asks nothing, does not keep a place for ever."""

    _sent_by: asyncio.TimerHandle | None = None
    _reader_look: asyncio.TimerHandle | None = None
    _left = 0  # of answers, at the last look
    _asked_at_s = 0.0
    _is_dropped = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._asked_at_s = self.loop.time()
        self._await_request()
        self._look_at_reader()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request: the whole of it stops the clock."""
        was_idle = self._sent_by is None
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._asked_at_s = self.loop.time()
            self._stop_waiting()
        elif was_idle and not self.transport.is_closing():
            self._await_request()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, and end: what is being answered still says nothing more.

        Written as bytes, since h11 takes no answer with a body to a HEAD, nor one to what was answered in part.
        """
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_NO_REQUEST % (len(msg), msg.encode("ascii")))
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the waiting."""
        self._stop_waiting()
        if self._reader_look is not None:
            self._reader_look.cancel()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none until it has asked
        return cycle is not None and not cycle.response_complete

    def _make_room(self, *, again: bool = False) -> None:
        """Drop one connection where there are too many: this one, if all others are being answered for a while."""
        present = [each for each in cast("set[ImpatientProtocol]", self.connections) if not each._is_dropped]
        if len(present) <= MOST_CONNECTIONS or self not in present:
            return
        silent = [each for each in present if each is not self and not each._is_answering]
        if silent or again:
            min(silent, key=lambda each: each._asked_at_s, default=self)._drop()
        else:
            self.loop.call_later(_ROOM_WITHIN_S, partial(self._make_room, again=True))

    def _drop(self) -> None:
        self._is_dropped = True
        self.transport.abort()

    def _look_at_reader(self) -> None:
        """Drop a connection whose reader took nothing since the last look, one that is closed but for that, too."""
        left = self.transport.get_write_buffer_size()
        if left and left == self._left:
            self._drop()
            return
        self._left = left
        self._reader_look = self.loop.call_later(READ_LOOK_EVERY_S, self._look_at_reader)

    def _await_request(self) -> None:
        self._stop_waiting()
        self._sent_by = self.loop.call_later(SENT_WITHIN_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._sent_by is not None:
            self._sent_by.cancel()
            self._sent_by = None
