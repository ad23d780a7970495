"""How often tokens may be tried that are not known: so that nobody tries many, and nobody fills the logs."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

# So many tries at once, and one more each so many seconds.
MOST_TRIES, _EVERY_S = 20, 3.0
# Of so many who tried it is remembered; of more, the first are forgotten.
_MOST_WHO = 1000


@dataclass
class _Spent:
    tries: float
    at_s: float


class Tries:
    """The tries that failed of late, by who made them. In memory: another process starts from zero."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._spent: OrderedDict[Hashable, _Spent] = OrderedDict()

    def wait_s(self, who: Hashable) -> int | None:
        """Return how many seconds to wait until the next try, None where one may be made."""
        tries = self._tries(who)
        return max(1, math.ceil((tries - MOST_TRIES + 1) * _EVERY_S)) if tries > MOST_TRIES - 1 else None

    def count(self, who: Hashable) -> None:
        """Count a try that failed."""
        self._spent[who] = _Spent(self._tries(who) + 1, self._steady_s())
        self._spent.move_to_end(who)
        if len(self._spent) > _MOST_WHO:
            self._spent.popitem(last=False)

    def _tries(self, who: Hashable) -> float:
        spent = self._spent.get(who)
        return max(0.0, spent.tries - (self._steady_s() - spent.at_s) / _EVERY_S) if spent else 0.0
