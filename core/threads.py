"""Calls beside the loop: those that may hang for ever, and those that take long and can be stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from data.members.duck import Stopper, stop_by

log = logging.getLogger(__name__)
T = TypeVar("T")
P = ParamSpec("P")

_NAME = "may-hang"
_STOP_AGAIN_S = 0.05
# Together fewer than the connections of an engine (SQLAlchemy's 15).
_MOST_SHARED, _HEARTBEAT_THREADS = 10, 4
_heartbeat_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


async def for_heartbeat(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call that renews a lease in a thread that is there for such calls alone.

    The threads that all share may all wait for a writer that hangs; a lease must not be lost by that. Nothing is
    called here that waits for such a writer.
    """
    loop = asyncio.get_running_loop()
    threads = _heartbeat_threads.get(loop)
    if threads is None:
        threads = _heartbeat_threads[loop] = ThreadPoolExecutor(_HEARTBEAT_THREADS, "heartbeats")
    return await loop.run_in_executor(threads, partial(copy_context().run, call, *args, **kwargs))


def bound_threads() -> None:
    """Have the threads that all calls of the running loop share be few enough for the database.

    On a machine of many cores they, all waiting, would have every connection that a process may have.
    """
    threads = ThreadPoolExecutor(min(_MOST_SHARED, (os.cpu_count() or 1) + 4), "shared")
    asyncio.get_running_loop().set_default_executor(threads)


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


def leave_within(seconds: float) -> None:
    """Have this process, which was asked to end, end with 0 after so long, whatever it waits for by then.

    A database that somebody else holds, a storage that does not answer and a thread that hangs each have a limit of
    their own, and one wait may follow the other: whoever asked would end the process by force before that. What it held
    is recovered as that of one that died.
    """

    def leave() -> None:
        log.warning("ends with work left: it took longer than %.0f s to hand it back, others recover it", seconds)
        os._exit(0)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


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


async def to_its_end(call: Callable[[], T]) -> T:
    """Make a call in a thread that all share; when this is cancelled, wait for its end: what it took is known then."""
    working = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(working)
    finally:
        await asyncio.wait([working])


class WorkerThread:
    """One thread that does call after call, beside the loop that keeps the requests going.

    When `stops_with`, a task, is cancelled as it waits for a call, what that call asks of DuckDB is interrupted: to
    sort millions of members takes longer than a process that is asked to end may wait.
    """

    def __init__(self, name: str, *, stops_with: asyncio.Task[Any] | None = None) -> None:
        self._stopper = Stopper()
        self._stops_with = stops_with
        self._pool = ThreadPoolExecutor(1, name, initializer=stop_by, initargs=(self._stopper,))

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call in the thread, after those that came before it."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, call)
        except asyncio.CancelledError:
            if self._stops_with is not None and asyncio.current_task() is self._stops_with:
                self._stop(loop)
            raise

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._stopper.stop():
            loop.call_later(_STOP_AGAIN_S, self._stop, loop)

    def shutdown(self) -> None:
        """End the thread after its last call."""
        self._pool.shutdown(wait=True, cancel_futures=False)


async def in_stoppable_thread(call: Callable[[], T]) -> T:
    """Make a call in a thread of its own; when this task is cancelled, what the call asks of DuckDB is interrupted."""
    thread = WorkerThread("stoppable", stops_with=asyncio.current_task())
    try:
        return await thread.run(call)
    finally:
        await asyncio.shield(asyncio.to_thread(thread.shutdown))
