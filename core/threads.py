"""Calls that may hang for ever, as those to a folder on another machine do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(call: Callable[[], T]) -> T:
    """Make a call in a thread of its own; when this is cancelled, the call is left to itself.

    Those that hang in the threads that all share would take one after the other, until no heartbeat is written any
    more; and a process waits at its end for those threads, but not for this one.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, exc: BaseException | None) -> None:
        if answer.done():
            return  # no one waits for it any more
        if exc is not None:
            answer.set_exception(exc)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, failed = None, None
        try:
            result = call()
        except Exception as exc:
            failed = exc
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=work, name="may-hang", daemon=True).start()
    return await answer
