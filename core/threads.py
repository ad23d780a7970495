"""Calls that may hang for ever, as those to a folder on another machine do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_NAME = "may-hang"


def are_any_left() -> bool:
    """Return whether a call hangs still, or has not ended yet."""
    return any(thread.name == _NAME for thread in threading.enumerate())


def in_time(call: Callable[[], T], *, within_s: float | None = None) -> T:
    """Make a call in a thread of its own, and wait for it, or only so long; what hangs longer is left to itself.

    Signals are heard meanwhile, as they are not by a thread that a file system holds. Raises: TimeoutError.
    """
    results, errors = list[T](), list[Exception]()

    def work() -> None:
        try:
            results.append(call())
        except Exception as exc:
            errors.append(exc)

    thread = threading.Thread(target=work, name=_NAME, daemon=True)
    thread.start()
    thread.join(within_s)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


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

    threading.Thread(target=work, name=_NAME, daemon=True).start()
    return await answer
