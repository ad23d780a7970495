"""What a process remembers of files that it has looked at: a bounded number of facts, the latest."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Facts by key. Beyond `most` of them the one that was put in first is dropped. Safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._facts: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return what is known of a key, None where nothing is."""
        return self._facts.get(key)

    def holds(self, key: K, fact: V | None) -> bool:
        """Return whether exactly this is known of a key."""
        return fact is not None and self.get(key) == fact

    def put(self, key: K, fact: V | None) -> None:
        """Remember what is known of a key from now on; nothing where that is None."""
        with self._lock:  # else two threads could find the same fact to be the first, and the second fail to drop it
            self._facts.pop(key, None)
            if fact is not None:
                self._facts[key] = fact
            while len(self._facts) > self._most:
                del self._facts[next(iter(self._facts))]

    def forget(self, key: K) -> None:
        """Forget what is known of a key."""
        with self._lock:
            self._facts.pop(key, None)
