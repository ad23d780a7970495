"""Client of Mixpanel's Query and App APIs. Its words and its quirks stay in here.

Source of what is said of Mixpanel: its docs and OpenAPI files, and mixpanel-headless, all read 2026-11-23.
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache, partial
from typing import Any, TypeVar, cast
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from sqlalchemy import Engine

from core import quota
from core.errors import (
    CohortBridgeError,
    CohortNotExportable,
    CohortUnknown,
    RateLimited,
    SessionLost,
    SettingsError,
    VendorAuthFailed,
    VendorError,
    VendorRefused,
    VendorSurprise,
    VendorUnavailable,
)
from core.journal import Note, note_nothing
from core.matching import MISSING

REGIONS = {"us": "https://mixpanel.com", "eu": "https://eu.mixpanel.com", "in": "https://in.mixpanel.com"}
# Longer than the vendor's own deadlines, so that a slow answer is still an answer (headless api_client.py).
QUERY_TIMEOUT_S = 503.0
APP_TIMEOUT_S = 135.0
ROLES = ("consumer", "analyst", "admin", "owner")
_LOST_SESSION = "request for page in uncached query"
_BAD_CREDENTIALS = "Unable to authenticate request"
_CONNECTIONS_ADVICE = "Ask an admin to check the Mixpanel connection on the Connections page."

T = TypeVar("T")


@dataclass(frozen=True)
class Project:
    """Where a Mixpanel project is reached, and as whom. `secret` never leaves this module."""

    base_url: str
    project_id: int
    username: str
    secret: str = field(repr=False)
    workspace_id: int | None = None

    @property
    def key(self) -> str:
        """What the project's budget is kept under: the same project behind two connections has one budget."""
        return f"{urlsplit(self.base_url).netloc}/{self.project_id}"


@dataclass(frozen=True)
class Cohort:
    """A cohort as the project lists it. `count` is what Mixpanel last computed, not what an export will find."""

    id: int
    name: str
    description: str
    count: int
    created: str
    is_visible: bool
    of_groups: bool


@dataclass(frozen=True)
class Account:
    """The service account's own standing in the project. `role` None: not listed there."""

    role: str | None
    expires_at: datetime | None


@dataclass(frozen=True)
class Page:
    """One page of profiles: aligned distinct ids and values of the property asked for."""

    said_page: int | None
    page_size: int | None
    total: int | None
    session_id: str | None
    distinct_ids: list[object]
    values: list[object]


@dataclass(frozen=True)
class RetryPlan:
    """How a passing failure is retried: 5 tries over about a minute."""

    attempts: int = 5
    over_s: float = 60.0

    def attempts_on(self, give_up: Callable[[Exception], bool | float]) -> Any:
        """Return stamina's loop of attempts; waits double from a fifteenth of `over_s`."""
        import stamina  # seldom needed, and never at the start

        first_s = self.over_s / 15
        return stamina.retry_context(
            on=give_up,
            attempts=self.attempts,
            timeout=None,
            wait_initial=first_s,
            wait_max=self.over_s / 2,
            wait_jitter=first_s / 2,
        )


def worth_retrying(plan: RetryPlan) -> Callable[[Exception], bool | float]:
    """Build the hook that tells stamina whether, and after how many seconds, to try again.

    `Retry-After` is honoured as long as the whole retrying stays within the plan's time.
    """

    def hook(exc: Exception) -> bool | float:
        if not isinstance(exc, VendorError) or not exc.retryable:
            return False
        if isinstance(exc, RateLimited) and exc.kind == "hour":
            return False
        if exc.retry_after_s is not None:
            return min(exc.retry_after_s, plan.over_s / 2)
        return True

    return hook


class Mixpanel:
    """One project, asked through one HTTP client. Counts what it asks: `requests` sent, `queries` of them counted.

    Every method raises VendorError or NoQuerySlot. Reads are safe to repeat and are retried.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        project: Project,
        engine: Engine,
        *,
        retry: RetryPlan | None = None,
        note: Note = note_nothing,
    ) -> None:
        self._note_call = note
        self._http = http
        self._project = project
        self._engine = engine
        self._retry = retry or RetryPlan()
        self._templates: dict[str, httpx.Request] = {}
        self._policy = ""
        self.requests = 0
        self.queries = 0

    async def list_cohorts(self) -> list[Cohort]:
        """Ask for the project's cohorts. Costs one counted query."""
        return await self._ask(
            "POST", "/api/query/cohorts/list", parse=_parse_cohorts, counted=True, timeout_s=QUERY_TIMEOUT_S
        )

    async def account(self) -> Account:
        """Ask for the service account's role in the project: the highest of those listed. Costs no query.

        Raises VendorAuthFailed with the code `mixpanel_not_admin` when the account may not list.
        """
        path = f"/api/app/projects/{self._project.project_id}/service-accounts"
        username = self._project.username
        try:
            return await self._ask(
                "GET",
                path,
                parse=lambda body: _parse_account(body, username),
                counted=False,
                timeout_s=APP_TIMEOUT_S,
            )
        except VendorAuthFailed as exc:
            if exc.status != 403:
                raise
            raise VendorAuthFailed(
                "The service account is not an admin of this Mixpanel project.",
                advice="Give it the project role admin or owner in Mixpanel's project settings, then connect again.",
                code="mixpanel_not_admin",
                status=exc.status,
            ) from exc

    async def first_page(
        self,
        cohort_id: int,
        match_property: str,
        *,
        page_size: int | None = None,
        gate: asyncio.Semaphore | None = None,
    ) -> Page:
        """Open a query session on a cohort and read page 0, which alone has `total`. Costs one counted query."""
        form = {} if page_size is None else {"page_size": str(page_size)}
        return await self._read(cohort_id, match_property, form, gate=gate)

    async def next_page(
        self,
        cohort_id: int,
        match_property: str,
        *,
        session_id: str,
        number: int,
        page_size: int | None = None,
        gate: asyncio.Semaphore | None = None,
        run: Callable[[Callable[[], Page]], Awaitable[Page]] | None = None,
    ) -> Page:
        """Read a further page of a session; costs no query. `gate` is held while the request is in flight only."""
        form = {"session_id": session_id, "page": str(number)}
        if page_size is not None:
            form["page_size"] = str(page_size)
        return await self._read(cohort_id, match_property, form, gate=gate, run=run)

    async def profiles(self, distinct_ids: Sequence[str], match_property: str) -> Page:
        """Read the profiles of a few users, with the one property. Costs one counted query."""
        form = {
            "distinct_ids": json.dumps(list(distinct_ids)),
            "output_properties": json.dumps([match_property]),
        }
        return await self._ask(
            "POST",
            "/api/query/engage",
            form=form,
            parse=lambda body: decode_page(body, match_property),
            counted=True,
            timeout_s=QUERY_TIMEOUT_S,
        )

    async def _read(
        self,
        cohort_id: int,
        match_property: str,
        extra: Mapping[str, str],
        *,
        gate: asyncio.Semaphore | None = None,
        run: Callable[[Callable[[], Page]], Awaitable[Page]] | None = None,
    ) -> Page:
        form = {
            "filter_by_cohort": json.dumps({"id": cohort_id}),
            "include_all_users": "false",  # the default is true, and would add ids that have no profile
            "output_properties": json.dumps([match_property]),
            **extra,
        }
        return await self._ask(
            "POST",
            "/api/query/engage",
            form=form,
            parse=lambda body: decode_page(body, match_property),
            counted="session_id" not in extra,
            timeout_s=QUERY_TIMEOUT_S,
            gate=gate,
            run=run,
            cohort_id=cohort_id,
        )

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        parse: Callable[[bytes], T],
        counted: bool,
        timeout_s: float,
        form: Mapping[str, str] | None = None,
        gate: asyncio.Semaphore | None = None,
        run: Callable[[Callable[[], T]], Awaitable[T]] | None = None,
        cohort_id: int | None = None,
    ) -> T:
        """Send with retries; `parse` is part of a try, since a cut-off answer is a passing failure."""

        async def ask_once() -> T:
            if gate is None:
                answer = await self._send(method, path, form=form, counted=counted, timeout_s=timeout_s)
            else:
                async with gate:
                    answer = await self._send(method, path, form=form, counted=counted, timeout_s=timeout_s)
            self._raise_for(answer, cohort_id)
            decode = partial(parse, answer.content)
            return decode() if run is None else await run(decode)

        try:
            return await ask_once()
        except VendorError as exc:
            failed: VendorError | None = exc
        # Only now is the machinery of retries worth its time: it is told of the first try as if it had made it.
        async for attempt in self._retry.attempts_on(worth_retrying(self._retry)):
            with attempt:
                if failed:
                    exc, failed = failed, None
                    raise exc
                return await ask_once()
        raise AssertionError("stamina ends with a result or an error")

    async def _send(
        self, method: str, path: str, *, form: Mapping[str, str] | None, counted: bool, timeout_s: float
    ) -> httpx.Response:
        request = self._request(method, path, form, timeout_s)
        entry = await asyncio.to_thread(quota.spend, self._engine, self._project.key) if counted else None
        self.requests += 1
        began_s = time.monotonic()
        try:
            answer = await self._http.send(request)
        except httpx.HTTPError as exc:
            self._note_call(_spoken(path, counted=counted), None, began_s)
            if entry is not None:
                self.queries += 1  # it may have been counted: better to wait once too often
            raise VendorUnavailable(_network_sentence("Mixpanel", exc), code="mixpanel_unreachable") from exc
        self._note_call(_spoken(path, counted=counted), answer.status_code, began_s)
        await self._note(answer, entry)
        return answer

    def _request(self, method: str, path: str, form: Mapping[str, str] | None, timeout_s: float) -> httpx.Request:
        """Build a request; address, credentials and headers of a path are worked out once."""
        template = self._templates.get(path)
        if template is None:
            template = self._templates[path] = self._template(method, path, timeout_s, with_form=form is not None)
        content = None if form is None else "&".join(_encoded(*pair) for pair in form.items()).encode()
        return httpx.Request(
            method, template.url, headers=template.headers, content=content, extensions=template.extensions
        )

    def _template(self, method: str, path: str, timeout_s: float, *, with_form: bool) -> httpx.Request:
        params = {"project_id": str(self._project.project_id)}
        if self._project.workspace_id is not None:
            params["workspace_id"] = str(self._project.workspace_id)
        credentials = b64encode(f"{self._project.username}:{self._project.secret}".encode()).decode()
        headers = {"Accept": "application/json", "Authorization": f"Basic {credentials}"}
        if with_form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            template = self._http.build_request(
                method,
                self._project.base_url + path,
                params=params if path.startswith("/api/query") else None,
                headers=headers,
                timeout=httpx.Timeout(timeout_s, connect=30.0),
            )
        except httpx.InvalidURL as exc:
            raise SettingsError("The address of Mixpanel is not a URL.", code="bad_setting") from exc
        template.headers.pop("Content-Length", None)
        return template

    async def _note(self, answer: httpx.Response, entry: int | None) -> None:
        policy = answer.headers.get("RateLimit-Policy", "")
        if policy and policy != self._policy:
            self._policy = policy
            await asyncio.to_thread(quota.learn, self._engine, self._project.key, answer.headers)
        if entry is None:
            return
        if answer.status_code in quota.UNCOUNTED:
            await asyncio.to_thread(quota.give_back, self._engine, entry)
        else:
            self.queries += 1

    def _raise_for(self, answer: httpx.Response, cohort_id: int | None) -> None:
        if answer.is_success:
            return
        text = _error_text(answer)
        if cohort_id is not None:
            _raise_for_cohort(answer.status_code, text, cohort_id)
        raise _error_of(answer, text)


def _spoken(path: str, *, counted: bool) -> str:
    """Name a request for the run's journal."""
    if path.endswith("/cohorts/list"):
        return "list of cohorts"
    return ("first page of profiles" if counted else "page of profiles") if path.endswith("/engage") else "account"


@lru_cache(maxsize=64)
def _encoded(name: str, value: str) -> str:
    """Encode a field of a form; those of a cohort's pages are all the same but one."""
    return urlencode({name: value})


def _raise_for_cohort(status: int, text: str, cohort_id: int) -> None:
    if _LOST_SESSION in text:
        raise SessionLost("Mixpanel forgot the query while its pages were being read.", status=status)
    if "Missing Datagroup" in text:
        raise CohortNotExportable(f"Cohort {cohort_id} belongs to a data group that no longer exists.")
    if status == 404:
        raise CohortUnknown(f"Mixpanel has no cohort {cohort_id} in this project (any more).")


def _error_of(answer: httpx.Response, text: str) -> CohortBridgeError:
    status = answer.status_code
    if status == 429:
        return _rate_limited(answer)
    if status >= 500:
        return VendorUnavailable(
            f"Mixpanel answered with an error of its own ({status}).",
            code="mixpanel_unavailable",
            status=status,
            retry_after_s=retry_after_s(answer),
        )
    if status == 401 or _BAD_CREDENTIALS in text:
        return VendorAuthFailed(
            "Mixpanel does not accept the service account's username and secret.",
            advice=f"{_CONNECTIONS_ADVICE} The account may have expired, or belong to another region.",
            code="mixpanel_unauthorized",
            status=status,
        )
    sentences = {
        402: ("mixpanel_no_api_access", "The plan of this Mixpanel project has no access to the Query API."),
        403: ("mixpanel_forbidden", "The service account may not read this Mixpanel project."),
        404: ("mixpanel_not_found", "Mixpanel does not know this project."),
        410: ("mixpanel_forbidden", "The service account may no longer read this Mixpanel project."),
    }
    code, sentence = sentences.get(status, ("mixpanel_refused", f"Mixpanel refused the request ({status})."))
    kind = VendorAuthFailed if status in (403, 410) else VendorRefused
    return kind(sentence, advice=_CONNECTIONS_ADVICE, code=code, status=status)


def _rate_limited(answer: httpx.Response) -> RateLimited:
    """Tell the three kinds of 429 apart by their headers (headless test_pacer.py)."""
    limits = [part.strip() for part in answer.headers.get("RateLimit", "").split(",")]
    spent = {part.split(";")[0].strip('"') for part in limits if "r=0" in part.split(";")}
    if "project" in spent:
        return RateLimited("Mixpanel's hourly limit of this project is reached.", kind="hour")
    if "project-concurrency" in spent:
        return RateLimited(
            "Too many requests to this Mixpanel project are in flight.", kind="concurrency", retry_after_s=None
        )
    return RateLimited("Mixpanel is shedding load.", kind="load", retry_after_s=retry_after_s(answer))


def retry_after_s(answer: httpx.Response) -> float | None:
    """Read `Retry-After` in seconds; a date or nonsense counts as not given."""
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _network_sentence(whom: str, exc: httpx.HTTPError) -> str:
    if isinstance(exc, httpx.TimeoutException):
        return f"{whom} did not answer in time."
    return (
        f"{whom} could not be reached." if isinstance(exc, httpx.ConnectError) else f"The connection to {whom} broke."
    )


def _error_text(answer: httpx.Response) -> str:
    """Find the vendor's own words, for telling errors apart; they are not shown."""
    try:
        said: Any = json.loads(answer.content)
    except ValueError:
        return ""
    return str(_as_object(said).get("error", ""))


# --- answers -------------------------------------------------------------------------------------------------------


class _CohortAnswer(msgspec.Struct):
    id: int
    name: str = ""
    description: str | None = ""
    count: int | None = 0
    created: str | None = ""
    is_visible: int | bool = 1
    data_group_id: int | str | None = None


class _AccountAnswer(msgspec.Struct):
    username: str = ""
    role: Any = None
    expires: str | None = None


class _AccountsAnswer(msgspec.Struct):
    results: list[_AccountAnswer]


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise _surprise() from exc


def _surprise() -> VendorSurprise:
    return VendorSurprise(
        "Mixpanel's answer was cut off or is not what it documents.", code="mixpanel_unreadable_answer"
    )


def _parse_cohorts(body: bytes) -> list[Cohort]:
    return [
        Cohort(
            id=one.id,
            name=one.name,
            description=one.description or "",
            count=one.count or 0,
            created=one.created or "",
            is_visible=bool(one.is_visible),
            of_groups=one.data_group_id not in (None, ""),
        )
        for one in _decode(body, list[_CohortAnswer])
    ]


def _parse_account(body: bytes, username: str) -> Account:
    own = [one for one in _decode(body, _AccountsAnswer).results if one.username == username]
    # Roles add up where an account is listed by itself and through a team (docs roles-and-permissions).
    ranks = [ROLES.index(one.role) for one in own if one.role in ROLES]
    expiries = [datetime.fromisoformat(one.expires) for one in own if one.expires]
    return Account(
        role=ROLES[max(ranks)] if ranks else None,
        expires_at=min(expiries).astimezone() if expiries else None,
    )


@cache
def _page_decoder(match_property: str) -> msgspec.json.Decoder[Any]:
    """Build a decoder for pages that hold one property, which skips all else."""
    properties = msgspec.defstruct(
        "Properties", [("value", Any, msgspec.field(default=MISSING, name=match_property))], gc=False
    )
    profile = msgspec.defstruct(
        "Profile",
        [
            ("distinct_id", Any, msgspec.field(default=None, name="$distinct_id")),
            ("properties", properties, msgspec.field(default_factory=properties, name="$properties")),
        ],
        gc=False,
    )
    page = msgspec.defstruct(
        "Answer",
        [
            ("results", list[profile]),
            ("page", int | None, None),
            ("page_size", int | None, None),
            ("total", int | None, None),
            ("session_id", str | None, None),
        ],
    )
    return msgspec.json.Decoder(page)


def decode_page(body: bytes, match_property: str) -> Page:
    """Decode one answer of the engage query.

    A string that is not valid Unicode makes the fast decoder refuse the page; the standard library then reads it, and
    matching counts that one id as invalid. Raises VendorSurprise when the answer is cut off or not JSON.
    """
    try:
        answer = _page_decoder(match_property).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_page_slowly(body, match_property)
    rows = answer.results
    return Page(
        said_page=answer.page,
        page_size=answer.page_size,
        total=answer.total,
        session_id=answer.session_id,
        distinct_ids=[row.distinct_id for row in rows],
        values=[row.properties.value for row in rows],
    )


def _decode_page_slowly(body: bytes, match_property: str) -> Page:
    try:
        # Digits without end are a number no id can be: Python would refuse to read them at all.
        answer: Any = json.loads(body, parse_int=lambda digits: int(digits) if len(digits) < 1000 else float(digits))
        rows = answer["results"]
        properties = [_as_object(row.get("$properties")) for row in rows]
        return Page(
            said_page=_as_int(answer.get("page")),
            page_size=_as_int(answer.get("page_size")),
            total=_as_int(answer.get("total")),
            session_id=answer.get("session_id"),
            distinct_ids=[row.get("$distinct_id") for row in rows],
            values=[held.get(match_property, MISSING) for held in properties],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _surprise() from exc


def _as_object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _as_int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
