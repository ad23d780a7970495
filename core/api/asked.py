"""What is asked of the HTTP API: an address, taken apart as it was sent, and checked parameters."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.requests import Request

from core.access.roles import Actor
from core.api.responses import HttpProblem
from core.bridge import Bridge
from core.errors import NotFound, SettingsError
from core.text import LONGEST_USER_ID, MOST_ID, whole_of
from core.threads import in_own_thread
from data.storage.port import hurried

T = TypeVar("T")

_MOST_PARAMETERS = 10
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass
class Seats:
    """So many places, and what is said to one more."""

    left: int
    status: int
    code: str
    message: str
    advice: str

    @contextmanager
    def taken(self) -> Generator[None]:
        """Take a place while inside. Raises HttpProblem where none is free."""
        if not self.left:
            raise HttpProblem(self.status, self.code, self.message, advice=self.advice, headers={"Retry-After": "5"})
        self.left -= 1
        try:
            yield
        finally:
            self.left += 1


def _askers() -> Seats:
    return Seats(64, 503, "too_many_requests", "Too many ask at a time.", "Ask again after the time in Retry-After.")


def _waiters() -> Seats:
    return Seats(
        16,
        429,
        "too_many_waiting",
        "Too many wait for runs already.",
        "Ask again without `wait`, or after the time in Retry-After.",
    )


@dataclass
class Places:
    """How much is done at a time. Probes have threads of their own, and are answered whatever goes on here."""

    threads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    askers: Seats = field(default_factory=_askers)
    waiters: Seats = field(default_factory=_waiters)
    closing: threading.Event = field(default_factory=threading.Event)  # who waits is answered now


@dataclass(frozen=True)
class Asked:
    """One request of a token that counts, at an address that is there."""

    bridge: Bridge
    actor: Actor
    request: Request
    path: dict[str, str]  # parts of the address, still encoded
    places: Places

    async def call(self, action: Callable[[], T]) -> T:
        """Do what asks the database, or reads files, beside the loop."""
        async with self.places.threads:
            return await in_own_thread(partial(_hurried, action))

    def number(self, name: str) -> int:
        """Return the number of a row. Raises SettingsError, NotFound."""
        number = whole_of(self.path[name])
        if number is None:
            raise SettingsError(f"{name}: this is a whole number.")
        if number > MOST_ID:
            raise NotFound(f"{name}: there is none of this number.", advice="See the list of them.")
        return number

    def person(self, name: str) -> str:
        """Return an id of a person, byte for byte. Raises SettingsError, which does not repeat it."""
        raw = self.path[name]
        if _NO_ESCAPE.search(raw):
            raise SettingsError(f"{name}: a percent sign in it is sent as %25.", advice="Percent-encode the id.")
        try:
            text = unquote_to_bytes(raw).decode()
        except UnicodeDecodeError:
            raise SettingsError(f"{name}: this is not UTF-8.", advice="Percent-encode the id in UTF-8.") from None
        if len(text) > LONGEST_USER_ID:
            raise SettingsError(f"{name}: at most {LONGEST_USER_ID:,} characters.")
        return text

    def query(self, *known: str) -> dict[str, str]:
        """Return the parameters. Raises SettingsError for one that is not known, or is sent twice."""
        text = self.request.scope["query_string"].decode("latin-1")
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="replace")
        except ValueError:
            raise SettingsError("There are too many parameters.") from None
        names = [name for name, _ in pairs]
        if not set(names) <= set(known):
            takes = f"only {' and '.join(known)}" if known else "none"
            raise SettingsError(f"There is a parameter that this address does not take: it takes {takes}.")
        if len(set(names)) < len(names):
            raise SettingsError("There is a parameter twice.", advice="Send each once.")
        return dict(pairs)


def _hurried(action: Callable[[], T]) -> T:
    """Do something for which somebody waits, in a process that is patient with its storage otherwise."""
    with hurried():
        return action()


def whole(values: dict[str, str], name: str, default: int, *, least: int, most: int) -> int:
    """Return a parameter that is a whole number. Raises SettingsError naming it."""
    text = values.get(name)
    if text is None:
        return default
    number = whole_of(text)
    if number is None or not least <= number <= most:
        raise SettingsError(f"{name}: this is a whole number from {least:,} to {most:,}.")
    return number
