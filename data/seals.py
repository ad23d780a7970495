"""What the database asks of whoever can open secrets: it stores them sealed, and never opens one itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

# Seals a sealed text again with the newest key. It is called within the transaction that stores the text: a key that
# is rotated meanwhile would otherwise leave behind what nothing opens any more.
SealAgain = Callable[[str], str]


class Seals(Protocol):
    """What seals secrets, and compares what is sealed."""

    def seal_again(self, sealed: str) -> str:
        """Seal a sealed text with the newest key. Called within the transaction that stores the text (SealAgain)."""
        ...

    def is_same(self, sealed: str | None, other: str | None) -> bool:
        """Return whether two sealed texts hold the same secret."""
        ...

    def list_checks(self) -> list[str]:
        """List a value for each key, newest first, that tells keys apart, and of which no key can be found."""
        ...

    def hash_text(self, text: str) -> str:
        """Return a hash of a text that nobody can make without the newest key."""
        ...

    def hash_sealed(self, sealed: str, form: Callable[[str], str]) -> str | None:
        """Return such a hash of what a sealed text holds, brought into a form; None when no key opens it."""
        ...
