"""Two transactions on PostgreSQL at once: the first is held right before its commit, until the second ends or waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from tests.stage.sandbox import wait_until

_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True)
class Met:
    """What became of two: what each returned, or raised, and whether the second had to wait for the first."""

    first: Any
    second: Any
    waited: bool


@contextmanager
def held_before_commit(engine: Engine, do: Callable[[], Any]) -> Generator[Future[Any]]:
    """Do something in a thread that stops right before the first commit that it comes to, while inside."""
    reached, go_on, holder = threading.Event(), threading.Event(), list[int]()

    def hold(_: Connection) -> None:
        if threading.get_ident() in holder:
            holder.clear()
            reached.set()
            assert go_on.wait(30)

    def run() -> Any:
        holder.append(threading.get_ident())
        try:
            return do()
        finally:
            reached.set()

    event.listen(engine, "commit", hold)
    with ThreadPoolExecutor(1) as pool:
        try:
            done = pool.submit(run)
            assert reached.wait(30)
            yield done
        finally:
            go_on.set()


def meet(engine: Engine, first: Callable[[], Any], second: Callable[[], Any]) -> Met:
    """Have a transaction begin while another has all but committed."""
    with ThreadPoolExecutor(1) as pool:
        with held_before_commit(engine, first) as one:
            two = pool.submit(second)
            wait_until(lambda: two.done() or _somebody_waits(engine))
            waited = not two.done()
        return Met(_of(one), _of(two), waited)


def _somebody_waits(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.execute(_WAITING).scalar())


def _of(future: Future[Any]) -> Any:
    return future.exception() or future.result()
