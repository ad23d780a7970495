"""Doing a transaction again that was lost before it was told to commit: by a deadlock, or with its connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from data.engine import Engine, TransactionLost, is_joint

P = ParamSpec("P")
T = TypeVar("T")
# Of two transactions that wait for each other the server ends one; a server that restarts is back in a second or so.
_AGAIN_AFTER_S = (0.05, 0.3, 1.0)


def repeated(function: Callable[Concatenate[Engine, P], T]) -> Callable[Concatenate[Engine, P], T]:
    """Have a function that is one transaction done again, as a whole, while that is lost before it is committed.

    For functions whose only effect is on the database, and whose one writing transaction is their last. One whose
    answer to the commit was lost is not done again: it may have been committed. Neither is a part of a larger one.
    """

    @wraps(function)
    def again(engine: Engine, /, *args: P.args, **kwargs: P.kwargs) -> T:
        for pause_s in _AGAIN_AFTER_S:
            try:
                return function(engine, *args, **kwargs)
            except TransactionLost:
                if is_joint(engine):
                    raise
                time.sleep(pause_s)
        return function(engine, *args, **kwargs)

    return again
