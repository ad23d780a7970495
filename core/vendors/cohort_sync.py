"""Groups at an endpoint: Mixpanel's published cohort-sync messages."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import msgspec

from core.errors import SettingsError, StorageFailed, VendorAuthFailed, VendorRefused, VendorSurprise, VendorUnavailable
from core.run_log import RecordCall, ignore_call
from core.vendors.claims import read_status, states_error
from core.vendors.delivery import Target
from core.vendors.retry import RetryPlan, retry_after_s, worth_retrying
from data.models import Member, MembershipChange

# At most 1000 users a call (docs cohort-sync/webhooks).
_MESSAGE_MEMBERS = 1000
_TIMEOUT_S = 60.0
_LONGEST_ANSWER = 1_000_000
_TOKEN_HEADER = "ApptimizeApiToken"  # noqa: S105  (the header's name)
# How the run log names the messages.
_CALL_NAMES = {"members": "message: all members", "add_members": "message: added", "remove_members": "message: removed"}
_ENDPOINT_ADVICE = "Ask an admin to check the Apptimize connection on the Connections page."


@dataclass
class EndpointDelivery:
    """Sends cohort-sync messages to a URL.

    `still_ours` is asked before each message and raises when the run must not write any more. A delivery that fails
    leaves the group as it was, as long as the receiver puts the pages of a session in place only when all are there;
    whether it does is not known, so the caller treats the group as in doubt.
    """

    http: httpx.AsyncClient
    url: str
    token: str = field(repr=False)
    still_ours: Callable[[], Awaitable[None]]
    in_flight: int = 4
    retry: RetryPlan = RetryPlan()
    messages: int = 0
    takes_differences: bool = True
    note: RecordCall = ignore_call

    def is_in_place(self, target: Target) -> bool:
        """Yes: an endpoint cannot be asked; the daily full overwrite fixes what was changed by hand."""
        return True

    async def overwrite(self, target: Target, chunks: Iterator[list[Member]], *, members: int) -> None:
        """Send all members under one session id, at most 1000 a message; an empty group is one message of none."""
        await self._send_all("members", target, chunks, members=members, in_flight=self.in_flight)

    async def change(
        self, target: Target, change: MembershipChange, chunks: Iterator[list[Member]], *, members: int
    ) -> None:
        """Send who was added, or removed, one message after the other; nothing when there are none."""
        action = "add_members" if change == "added" else "remove_members"
        if members:
            await self._send_all(action, target, chunks, members=members, in_flight=1)

    async def _send_all(
        self, action: str, target: Target, chunks: Iterator[list[Member]], *, members: int, in_flight: int
    ) -> None:
        pages = message_count(members, whole=True)
        session_id = str(uuid.uuid4())
        waiting = set[asyncio.Task[None]]()
        sent = 0
        try:
            for number in range(1, pages + 1):
                chunk: list[Member] = await asyncio.to_thread(lambda: next(chunks, list[Member]()))
                sent += len(chunk)
                message = _message(action, target, session_id, chunk, page=number, pages=pages)
                while len(waiting) >= in_flight:
                    waiting = await _first_done(waiting)
                waiting.add(asyncio.create_task(self._send(action, message)))
            while waiting:
                waiting = await _first_done(waiting)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if sent != members:
            raise StorageFailed("The members that were kept are not the members that were counted.")

    async def _send(self, action: str, message: bytes) -> None:
        async for attempt in self.retry.attempts_on(worth_retrying(self.retry)):
            with attempt:
                await self.still_ours()
                await self._send_once(action, message)

    async def _send_once(self, action: str, message: bytes) -> None:
        headers = {_TOKEN_HEADER: self.token, "Content-Type": "application/json"}
        began_s = time.monotonic()
        try:
            async with self.http.stream(
                "POST", self.url, content=message, headers=headers, timeout=_TIMEOUT_S
            ) as answer:
                body = await _small_body(answer)
        except httpx.HTTPError as exc:
            self.note(_CALL_NAMES[action], None, began_s)
            raise VendorUnavailable(
                "The Apptimize endpoint did not answer in time."
                if isinstance(exc, httpx.TimeoutException)
                else "The connection to the Apptimize endpoint broke.",
                code="apptimize_unreachable",
            ) from exc
        self.messages += 1
        self.note(_CALL_NAMES[action], answer.status_code, began_s)
        _check_answer(answer, body, action)


async def _small_body(answer: httpx.Response) -> bytes:
    """Read an answer, and no more of it than an answer has: the other end may send without end."""
    body = b""
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > _LONGEST_ANSWER:
            return b""  # no answer of the documented form
    return body


def message_count(members: int, *, whole: bool) -> int:
    """Return how many messages a write takes: an empty group is one message of none, an empty difference is none."""
    return max(1 if whole else 0, -(-members // _MESSAGE_MEMBERS))


async def _first_done(tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait for the first to end and return the others; raise what it raised."""
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return pending


def _message(
    action: str, target: Target, session_id: str, members: Sequence[Member], *, page: int, pages: int
) -> bytes:
    """Build one message. Of a member it holds the two ids and nothing else."""
    return msgspec.json.encode(
        {
            "action": action,
            "parameters": {
                "mixpanel_project_id": str(target.project_id),
                "mixpanel_cohort_id": str(target.cohort_id),
                "mixpanel_cohort_name": target.group_name,
                "mixpanel_cohort_description": target.description,
                "mixpanel_session_id": session_id,
                "page_info": {"total_pages": pages, "page_count": page},
                "members": [
                    {"mixpanel_distinct_id": member.distinct_id, "$apptimize_user_id": member.apptimize_id}
                    for member in members
                ],
            },
        }
    )


def _check_answer(answer: httpx.Response, body: bytes, action: str) -> None:
    status = answer.status_code
    if answer.is_success:
        status = _status_in_body(answer, body, action)
        if status is None:
            return
    if status == 429 or status >= 500:
        raise VendorUnavailable(
            f"The Apptimize endpoint answered with an error of its own ({status}).",
            code="apptimize_unavailable",
            status=status,
            retry_after_s=retry_after_s(answer),
        )
    if status in (401, 403):
        raise VendorAuthFailed(
            "The Apptimize endpoint does not accept the token.",
            advice="Make a new token on Apptimize's Tokens page, and enter it on the Connections page.",
            code="apptimize_unauthorized",
            status=status,
        )
    raise VendorRefused(
        f"The Apptimize endpoint refused the message ({status}).",
        advice=_ENDPOINT_ADVICE,
        code="apptimize_refused",
        status=status,
    )


def _status_in_body(answer: httpx.Response, text: bytes, action: str) -> int | None:
    """Read the documented answer of a 2xx: None for a success, else the code of the failure.

    A success that repeats another action, or stands beside an `error`, is none.
    """
    try:
        body: Any = msgspec.json.decode(text)
        status, error = body["status"], body.get("error")
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        status, error, body = None, None, {}
    if status == "failure" or (status == "success" and states_error(error)):
        # One that states no status that makes sense may pass, as a server's own error does.
        return read_status(cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else None) or 500
    if status == "success" and body.get("action", action) == action:
        return None
    raise VendorSurprise(
        "The Apptimize endpoint did not confirm the message in the documented form.",
        advice=f"{_ENDPOINT_ADVICE} The address may lead to something else than a cohort-sync endpoint.",
        code="apptimize_unreadable_answer",
        status=answer.status_code,
    )


async def test_endpoint(http: httpx.AsyncClient, url: str, token: str) -> None:
    """Ask with GET whether the endpoint is there and takes the token; anything but 401 and 403 counts as a yes.

    Raises: VendorAuthFailed (the token), VendorUnavailable (the address), SettingsError.
    """
    try:
        async with http.stream("GET", url, headers={_TOKEN_HEADER: token}, timeout=30.0) as answer:
            pass  # what it says beside its status is not read
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise SettingsError("Endpoint: this is not an https address.") from None
    except httpx.HTTPError as exc:
        raise VendorUnavailable(
            "Endpoint: nothing answers at this address.",
            advice="Check the address, and that this machine may reach it.",
            code="apptimize_unreachable",
        ) from exc
    if answer.status_code in (401, 403):
        raise VendorAuthFailed(
            "Token: the endpoint does not accept it.",
            advice="Make a new one on Apptimize's Tokens page: New token, a name, Generate.",
            code="apptimize_unauthorized",
            status=answer.status_code,
        )
