"""What the tasks of one process take in turn, first come, first served, and wait for without asking again and again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from weakref import WeakKeyDictionary


class Turn:
    """The turn to take one of a thing, in one loop. Whoever has it waits until one is given back."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._given_back = asyncio.Event()

    @property
    def is_wanted(self) -> bool:
        """Whether a task has the turn at this moment, or waits for it."""
        return self._lock.locked()

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[None]:
        """Wait for the turn, after those that came before, and have it while inside."""
        async with self._lock:
            self._given_back.clear()
            yield

    async def wait(self, *, within_s: float) -> None:
        """Return as soon as something was given back since the turn was taken or the last wait, or after so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._given_back.wait(), within_s)
        self._given_back.clear()

    def wake(self) -> None:
        """Wake who has the turn: something was given back."""
        self._given_back.set()


class Turns:
    """The turns of a process, by name. Safe to share between threads; each loop has its own."""

    def __init__(self) -> None:
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, defaultdict[str, Turn]] = WeakKeyDictionary()

    def of(self, name: str) -> Turn:
        """Return the turn of this name in the running loop."""
        return self._by_loop.setdefault(asyncio.get_running_loop(), defaultdict(Turn))[name]

    def wake(self, name: str) -> None:
        """Wake who has the turn of this name, in each loop: something was given back. From any thread."""
        for loop, turns in list(self._by_loop.items()):
            if name in turns:
                with suppress(RuntimeError):  # the loop has ended meanwhile
                    loop.call_soon_threadsafe(turns[name].wake)
