"""Groups at an endpoint: Mixpanel's published cohort-sync messages."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

import httpx
import msgspec

from core.errors import (
    AddressNotAllowed,
    GroupGone,
    SettingsError,
    StorageFailed,
    VendorError,
    VendorRefused,
    VendorUnavailable,
)
from core.run_log import RecordCall, ignore_call
from core.vendors import receiver_errors
from core.vendors.claims import read_status, states_error
from core.vendors.delivery import StoredMembers, Target
from core.vendors.intake import Answer, Bounds, filled
from core.vendors.receiver import DISTINCT_KEY, Receiver
from core.vendors.retry import NoteTries, RetryPlan, Tries, is_passing, retry_after_s
from data.models import MembershipChange

# At most 1000 users a call (docs cohort-sync/webhooks).
_MESSAGE_MEMBERS = 1000
# The members of so many messages are read at once: for each of them a thread would be asked a thousand times.
_READ_AT_ONCE = 8
_TIMEOUT_S, _TEST_TIMEOUT_S = 60.0, 30.0
_BOUNDS = Bounds(most_bytes=1_000_000, within_s=120.0)
# How the run log names the messages.
_CALL_NAMES = {"members": "message: all members", "add_members": "message: added", "remove_members": "message: removed"}
# How a message ends, after its members.
_END = b"]}}"

T = TypeVar("T")


@dataclass
class EndpointDelivery:
    """Sends cohort-sync messages to a receiver.

    `still_ours` is asked before each message and raises when the run must not write any more. A delivery that fails
    leaves the group as it was, as long as the receiver puts the pages of a session in place only when all are there;
    whether it does is not known, so the caller treats the group as in doubt.
    """

    http: httpx.AsyncClient
    receiver: Receiver
    still_ours: Callable[[], Awaitable[None]]
    in_flight: int = 4
    retry: RetryPlan = RetryPlan()
    messages: int = 0
    takes_differences: bool = True
    bounds: Bounds = _BOUNDS
    note: RecordCall = ignore_call
    tries: NoteTries | None = None
    _template: httpx.Request | None = field(default=None, init=False, repr=False)

    def is_in_place(self, target: Target) -> bool:
        """Yes: an endpoint cannot be asked; the daily full overwrite fixes what was changed by hand."""
        return True

    async def overwrite(self, target: Target, stored: StoredMembers, *, members: int) -> None:
        """Send all members under one session id, at most 1000 a message; an empty group is one message of none."""
        await self._send_all("members", target, stored, members=members, in_flight=self.in_flight)

    async def change(self, target: Target, change: MembershipChange, stored: StoredMembers, *, members: int) -> None:
        """Send who was added, or removed, one message after the other; nothing when there are none."""
        action = "add_members" if change == "added" else "remove_members"
        if members:
            await self._send_all(action, target, stored, members=members, in_flight=1)

    async def _send_all(
        self, action: str, target: Target, stored: StoredMembers, *, members: int, in_flight: int
    ) -> None:
        pages = message_count(members, whole=True)
        session_id = str(uuid.uuid4())
        waiting, page = set[asyncio.Task[None]](), 0
        try:
            async with aclosing(_read_pages(stored, members, key=self.receiver.member_key)) as texts:
                async for text in texts:
                    page += 1
                    message = build_message(action, target, session_id, text, page=page, pages=pages)
                    while len(waiting) >= in_flight:
                        waiting = await _first_done(waiting)
                    waiting.add(asyncio.create_task(self._send(action, message)))
            while waiting:
                waiting = await _first_done(waiting)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _send(self, action: str, message: bytes) -> None:
        async def send_once() -> None:
            await self.still_ours()
            await self.send_message(action, message)

        await Tries(self.retry, self.tries).retried(send_once)

    async def send_message(self, action: str, message: bytes) -> None:
        """Send one message, once. Raises what it is answered."""
        request = self._request(message)
        began_s = time.monotonic()
        try:
            answer = await receiver_errors.sender_for(self.receiver).exchange(self.http, request, self.bounds)
        except VendorError as exc:
            self.messages += 1  # one without an answer may have been taken
            self.note(_CALL_NAMES[action], exc.status, began_s)
            raise
        self.messages += 1
        self.note(_CALL_NAMES[action], answer.status, began_s)
        _check_answer(self.receiver, answer, action)

    def _request(self, message: bytes) -> httpx.Request:
        """Build a request; address and headers are worked out once."""
        if self._template is None:
            headers = {**self.receiver.headers(), "Content-Type": "application/json"}
            sender = receiver_errors.sender_for(self.receiver)
            self._template = sender.template(self.http, "POST", self.receiver.url, headers=headers, timeout=_TIMEOUT_S)
        return filled(self._template, message)


def message_count(members: int, *, whole: bool) -> int:
    """Return how many messages a write takes: an empty group is one message of none, an empty difference is none."""
    return max(1 if whole else 0, -(-members // _MESSAGE_MEMBERS))


async def _first_done(tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait for the first to end and return the others; raise what it raised."""
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return pending


async def _read_pages(stored: StoredMembers, members: int, *, key: str) -> AsyncGenerator[bytes]:
    """Yield the members of each message as JSON objects, of a member the two ids and nothing else; `key` names the id.

    The last is held back until it is certain that all `members` were there, and no more: a receiver puts a group in
    place with the last message, and must not do so with other members. Raises StorageFailed.
    """
    chunks = stored.json_chunks(distinct_id=DISTINCT_KEY, apptimize_id=key, chunk=_MESSAGE_MEMBERS)
    left, last = members, None
    async with aclosing(_read_ahead(chunks)) as batches:
        async for batch in batches:
            for text, count in batch:
                if count != min(left, _MESSAGE_MEMBERS):
                    raise _not_as_counted()
                left -= count
                if last is not None:
                    yield last
                last = text
    if left:
        raise _not_as_counted()
    yield last or b""


def _not_as_counted() -> StorageFailed:
    return StorageFailed("The members that were kept are not the members that were counted.")


async def _read_ahead(chunks: Iterator[T]) -> AsyncGenerator[list[T]]:
    """Read in a thread, some chunks at once: as many as these while those before them are worked on, and no more."""

    async def read() -> list[T]:
        return await asyncio.to_thread(lambda: list(islice(chunks, _READ_AT_ONCE)))

    reading = asyncio.create_task(read())
    try:
        while batch := await reading:
            reading = asyncio.create_task(read())
            yield batch
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def build_message(action: str, target: Target, session_id: str, members: bytes, *, page: int, pages: int) -> bytes:
    """Build one message around its members, which are JSON objects with commas between."""
    empty = msgspec.json.encode(
        {
            "action": action,
            "parameters": {
                "mixpanel_project_id": str(target.project_id),
                "mixpanel_cohort_id": str(target.cohort_id),
                "mixpanel_cohort_name": target.group_name,
                "mixpanel_cohort_description": target.description,
                "mixpanel_session_id": session_id,
                "page_info": {"total_pages": pages, "page_count": page},
                "members": [],  # stays last: its brackets are what the members come between
            },
        }
    )
    return b"".join((empty[: -len(_END)], members, _END))  # copied once


def _check_answer(receiver: Receiver, answer: Answer, action: str) -> None:
    status = answer.status
    if answer.is_success:
        parse = partial(_failure_in_body, action=action)
        failure = receiver_errors.sender_for(receiver).understand(parse, answer.body, status)
        if failure is None:
            return
        status = failure
    if is_passing(status):
        raise receiver_errors.failed(receiver, status, retry_after_s=retry_after_s(answer.headers))
    kind = GroupGone if status == 404 and action != "members" else VendorRefused
    raise receiver_errors.refused(receiver, status, kind=kind)


def _failure_in_body(text: bytes, *, action: str) -> int | None:
    """Read the documented answer of a 2xx: None for a success, else the status that the failure stands for.

    A success that repeats another action, or stands beside an `error`, is none. Raises whatever reading it raises.
    """
    body: Any = msgspec.json.decode(text)
    status, error = body["status"], body.get("error")
    if status == "failure" or (status == "success" and states_error(error)):
        # One that states no status that makes sense may pass, as a server's own error does.
        return read_status(cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else None) or 500
    if status == "success" and body.get("action", action) == action:
        return None
    raise ValueError("neither a success nor a failure")


async def _of_no_run() -> None:
    """Ask nothing before a message: no run sends it, whose lease could be lost."""


async def send_test(http: httpx.AsyncClient, receiver: Receiver, target: Target) -> None:
    """Send the message that makes, or empties, a group: once, and for no longer than a person waits.

    Raises: VendorAuthFailed, VendorRefused, VendorUnavailable, VendorSurprise, SettingsError.
    """
    bounds = _BOUNDS._replace(within_s=_TEST_TIMEOUT_S)
    delivery = EndpointDelivery(http, receiver, still_ours=_of_no_run, bounds=bounds)
    message = build_message("members", target, str(uuid.uuid4()), b"", page=1, pages=1)
    await delivery.send_message("members", message)


async def test_endpoint(http: httpx.AsyncClient, receiver: Receiver) -> None:
    """Ask with GET whether the receiver is there and takes the sign-in; anything but 401 and 403 counts as a yes.

    Raises: VendorAuthFailed (what signs in), VendorUnavailable (the address), VendorError (its certificate),
    SettingsError.
    """
    bounds = Bounds(most_bytes=0, within_s=_TEST_TIMEOUT_S)  # what it says beside its status is not read
    sender = receiver_errors.sender_for(receiver)
    try:
        request = sender.build(http, "GET", receiver.url, headers=receiver.headers(), timeout=_TEST_TIMEOUT_S)
        answer = await sender.exchange(http, request, bounds)
    except AddressNotAllowed:
        raise
    except SettingsError:
        raise SettingsError("Endpoint: this is not an https address.") from None
    except VendorUnavailable as exc:
        raise receiver_errors.not_reached(receiver) from exc
    if answer.status in (401, 403):
        raise receiver_errors.not_accepted(receiver, answer.status)
