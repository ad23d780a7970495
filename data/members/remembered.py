"""What a process remembers of files that it has looked at: so many of them, the latest."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Facts by key; beyond `most` what was noted longest ago is forgotten. Safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._facts: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return what is known of a key; None where nothing is."""
        return self._facts.get(key)

    def knows(self, key: K, fact: V | None) -> bool:
        """Return whether just this is known of a key."""
        return fact is not None and self.get(key) == fact

    def note(self, key: K, fact: V | None) -> None:
        """Note what is known of a key from now on; None: nothing."""
        with self._lock:  # to find what goes and to take it out are two steps, between which others find the same
            self._facts.pop(key, None)
            if fact is not None:
                self._facts[key] = fact
            while len(self._facts) > self._most:
                del self._facts[next(iter(self._facts))]
