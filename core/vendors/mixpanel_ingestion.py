"""Client of Mixpanel's Ingestion API: setting a property of profiles, and aliasing. Its words stay in here.

Source of what is known of Mixpanel: docs reference/profile-set, reference/user-profile-limits, reference/import-events,
reference/create-alias and its OpenAPI files, all read 2026-11-23.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

import httpx
import msgspec

from core.errors import VendorAuthFailed, VendorUnavailable
from core.vendors.claims import find_text, quote, read_status, states_error
from core.vendors.intake import Answer, Bounds, read_object
from core.vendors.mixpanel_errors import MIXPANEL, raise_if_elsewhere
from core.vendors.mixpanel_project import INGESTION, REGIONS, Project
from core.vendors.retry import NoteTries, RetryPlan, Tries, is_passing, retry_after_s
from data.models import Member

# At most 2000 updates a request, and 2000 events (docs reference/user-profile-limits, reference/import-events).
BATCH_ROWS = 2000
# A request of profile updates is at most 1 MB, of events 2; below both by a good measure.
_BATCH_BYTES = 900_000
_INGESTION = {REGIONS[region]: url for region, url in INGESTION.items()}
_TIMEOUT_S = 60.0
# Enough for a long reason of every record.
_BOUNDS = Bounds(most_bytes=4 * 2**20, within_s=120.0)
# To find the rows that were refused when Mixpanel does not report which.
_MORE_REQUESTS = 100
_TOKEN_ADVICE = "Ask an admin to check the project token on the Connections page."  # noqa: S105  (no token)
_ACCOUNT_ADVICE = "Ask an admin to check the Mixpanel connection on the Connections page."

# Records that were refused, by their index, with Mixpanel's reason; None: it did not report which of a part it refused,
# and this one may have been taken all the same.
Refusals = dict[int, str | None]


def ingestion_url(base_url: str) -> str:
    """Return where a project takes profiles and events: the region's own host, or the one base of all APIs."""
    return _INGESTION.get(base_url, base_url)


class _Outcome(NamedTuple):
    """What became of a request's records: refused ones by their index, or None when Mixpanel does not report which."""

    refused: dict[int, str] | None
    text: str = ""


@dataclass
class Ingestion:
    """Sets Apptimize ids on profiles of one project, and aliases them. Counts what it sends: `requests`.

    Both are safe to repeat, and are retried. `still_ours` is asked before each request and raises when nothing may be
    written any more. Every method raises VendorError.
    """

    http: httpx.AsyncClient
    project: Project
    token: str = field(repr=False)
    still_ours: Callable[[], Awaitable[None]]
    retry: RetryPlan = RetryPlan()
    bounds: Bounds = _BOUNDS
    requests: int = 0
    tries: NoteTries | None = None

    async def set_ids(self, members: Sequence[Member], match_property: str) -> Refusals:
        """Set the Apptimize id of each profile; returns those refused by their place, with Mixpanel's reason."""
        updates = [
            {"$token": self.token, "$distinct_id": member.distinct_id, "$set": {match_property: member.apptimize_id}}
            for member in members
        ]
        # ip=0: or the profile would get this server's place as its own.
        params = {"strict": "1", "ip": "0", "verbose": "1"}
        return await self._send_all(updates, partial(self._post, "/engage", params, None))

    async def alias(self, members: Sequence[Member], *, at_s: int) -> Refusals:
        """Make each Apptimize id an alias of its distinct id; returns those refused, with Mixpanel's reason.

        Mixpanel decides after its answer whether an alias is taken, unreported. `at_s` must be the same whenever
        the same members are sent again: an event that was sent twice then counts once.
        """
        events = [
            {
                "event": "$create_alias",
                "properties": {
                    "token": self.token,
                    "distinct_id": member.distinct_id,
                    "alias": member.apptimize_id,
                    "time": at_s,
                    "$insert_id": _insert_id(member),
                },
            }
            for member in members
        ]
        params = {"strict": "1", "project_id": str(self.project.project_id)}
        return await self._send_all(events, partial(self._post, "/import", params, self.project.authorization))

    async def _send_all(
        self, records: Sequence[object], post: Callable[[Sequence[bytes]], Awaitable[_Outcome]]
    ) -> Refusals:
        encoded = [msgspec.json.encode(record) for record in records]
        refused, more = Refusals(), [_MORE_REQUESTS]
        start = 0
        while start < len(encoded):
            end, size = start, 0
            while end < len(encoded) and end - start < BATCH_ROWS and (end == start or size < _BATCH_BYTES):
                size += len(encoded[end]) + 1
                end += 1
            end = max(start + 1, end - (size > _BATCH_BYTES))
            refused |= await self._send_part(encoded, start, end, post, more)
            start = end
        return refused

    async def _send_part(
        self,
        encoded: Sequence[bytes],
        start: int,
        end: int,
        post: Callable[[Sequence[bytes]], Awaitable[_Outcome]],
        more: list[int],
    ) -> Refusals:
        """Send records; where some are refused and Mixpanel does not report which, ask again by halves."""
        answer = await post(encoded[start:end])
        if answer.refused is not None:
            return {start + index: reason for index, reason in answer.refused.items()}
        if end - start == 1:
            return {start: answer.text}
        if more[0] <= 0:
            return dict.fromkeys(range(start, end))
        more[0] -= 2
        middle = (start + end) // 2
        first = await self._send_part(encoded, start, middle, post, more)
        return first | await self._send_part(encoded, middle, end, post, more)

    async def _post(
        self, path: str, params: dict[str, str], authorization: str | None, records: Sequence[bytes]
    ) -> _Outcome:
        body = b"[" + b",".join(records) + b"]"

        async def post_once() -> _Outcome:
            await self.still_ours()
            return await self._post_once(path, params, authorization, body, len(records))

        return await Tries(self.retry, self.tries).retried(post_once)

    async def _post_once(
        self, path: str, params: dict[str, str], authorization: str | None, body: bytes, count: int
    ) -> _Outcome:
        self.requests += 1
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        url = ingestion_url(self.project.base_url) + path
        timeout = httpx.Timeout(_TIMEOUT_S, connect=30.0)
        request = MIXPANEL.build(self.http, "POST", url, params=params, content=body, headers=headers, timeout=timeout)
        answer = await MIXPANEL.exchange(self.http, request, self.bounds)
        read = partial(_read, answer, count, has_account=authorization is not None)
        return await asyncio.to_thread(MIXPANEL.understand, read, answer.body, answer.status)


def _insert_id(member: Member) -> str:
    return hashlib.sha256(f"{member.distinct_id}\x1f{member.apptimize_id}".encode()).hexdigest()[:32]


def _read(answer: Answer, count: int, body: bytes, *, has_account: bool) -> _Outcome:
    """Read the body whatever the status says: 200 is answered even when nothing was taken (docs profile-set)."""
    raise_if_elsewhere(answer)
    status, said = answer.status, read_object(body)
    code = read_status(said.get("code"))
    for number in (status, code):
        if number is not None and is_passing(number):
            raise VendorUnavailable(
                f"Mixpanel cannot take anything at the moment ({number}).",
                code="mixpanel_unavailable",
                status=number,
                retry_after_s=retry_after_s(answer.headers),
            )
    if 401 in (status, code) or 403 in (status, code):
        what = "the service account" if has_account else "the project token"
        raise VendorAuthFailed(
            f"Mixpanel takes nothing from {what} of this connection.",
            advice=_ACCOUNT_ADVICE if has_account else _TOKEN_ADVICE,
            code="mixpanel_ingestion_refused",
            status=status,
        )
    if status in (402, 404, 410) or not said:
        raise MIXPANEL.surprise(status)
    return _judge(said, count, status)


def _judge(body: dict[str, Any], count: int, status: int) -> _Outcome:
    """Return which records were taken. What does not add up is not believed: then nothing is known of any of them."""
    text = _words(body.get("error")) or f"Mixpanel refused it ({read_status(body.get('code')) or status})."
    counts = (body.get("num_records_imported"), body.get("num_good_events"))
    imported = next((number for number in counts if number is not None), None)
    failed = body.get("failed_records")
    if isinstance(failed, list) and failed:
        refused = _by_index(cast("list[Any]", failed), count)
        adds_up = imported is None or (refused is not None and imported == count - len(refused))
        return _Outcome(refused if adds_up else None, text)
    if status < 300 and not failed and imported in (None, count) and _says_success(body):
        return _Outcome({})
    return _Outcome(None, text)


def _says_success(body: dict[str, Any]) -> bool:
    """Return whether the answer says that all went well, in every field that says anything of it."""
    if states_error(body.get("error")):
        return False
    says = [(body.get("code"), (200,)), (body.get("status"), (1, "OK", "ok"))]
    said = [value in good and not isinstance(value, bool) for value, good in says if value is not None]
    return bool(said) and all(said)


def _by_index(failed: list[Any], count: int) -> dict[int, str] | None:
    """Read failed records; None when they are not named by index (a live probe saw mere texts)."""
    reasons = dict[int, str]()
    for entry in failed:
        record = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        index = record.get("index")
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
            return None
        reasons[index] = _words(record.get("message")) or "Mixpanel refused it."
    return reasons


def _words(said: object) -> str:
    return quote(find_text(said), most=200)
