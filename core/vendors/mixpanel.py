"""Client of Mixpanel's Query and App APIs: what is asked, how often, and what it costs of the project's queries.

Source of what is known of Mixpanel: its docs and OpenAPI files, and mixpanel-headless, all read 2026-11-23. What it
answers is decoded in `mixpanel_answers` and `mixpanel_lists`, what its refusals mean in `mixpanel_errors`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Generic, TypeVar
from urllib.parse import urlencode

import httpx

from core.errors import VendorAuthFailed, VendorError
from core.run_log import RecordCall, ignore_call
from core.vendors.intake import Answer, Bounds, filled
from core.vendors.mixpanel_answers import Account, Page, decode_page
from core.vendors.mixpanel_errors import MIXPANEL, not_an_admin, raise_for_status
from core.vendors.mixpanel_lists import CohortListing, parse_account, parse_cohorts
from core.vendors.mixpanel_project import Project
from core.vendors.query_budget import UNCOUNTED, QueryAllowance, stated_limit
from core.vendors.retry import NoteTries, RetryPlan, Tries

# Longer than the vendor's own deadlines, so that a slow answer is still an answer (headless api_client.py).
_QUERY_TIMEOUT_S = 503.0
_APP_TIMEOUT_S = 135.0
# Many times what answers hold: thousands of cohorts or accounts, a few profiles that are large, and a row's two ids.
_LIST_BYTES, _ACCOUNT_BYTES = 4 * 2**20, 4 * 2**20
_PAGE_BYTES, _ROW_BYTES, _USUAL_PAGE_SIZE = 2 * 2**20, 2**9, 1000
_COHORTS_PATH, _PROFILES_PATH = "/api/query/cohorts/list", "/api/query/engage"

T = TypeVar("T")


@dataclass(frozen=True)
class _Question(Generic[T]):
    """One thing to ask: the request, how its answer is read, and whether it costs one of the project's queries."""

    what: str  # as the run log names it
    path: str
    parse: Callable[[bytes], T]
    counted: bool
    bounds: Bounds
    method: str = "POST"
    form: Mapping[str, str] | None = None
    cohort_id: int | None = None  # the cohort that a refusal is about


class Mixpanel:
    """One project, asked through one HTTP client. Counts what it asks: `requests` sent, `queries` of them counted.

    Every method raises VendorError or NoQuerySlot. Reads are safe to repeat and are retried.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        project: Project,
        budget: QueryAllowance,
        *,
        retry: RetryPlan | None = None,
        note: RecordCall = ignore_call,
        tries: NoteTries | None = None,
    ) -> None:
        self._note_call = note
        self._note_tries = tries
        self._http = http
        self._project = project
        self._budget = budget
        self._retry = retry or RetryPlan()
        self._templates: dict[str, httpx.Request] = {}
        self._policy = ""
        self.requests = 0
        self.queries = 0

    async def list_cohorts(self) -> CohortListing:
        """Ask for the project's cohorts. Costs one counted query."""
        bounds = Bounds(_LIST_BYTES, _QUERY_TIMEOUT_S)
        return await self._ask(_Question("list of cohorts", _COHORTS_PATH, parse_cohorts, counted=True, bounds=bounds))

    async def account(self) -> Account:
        """Ask for the service account's role in the project: the highest of those listed. Costs no query.

        Raises VendorAuthFailed with the code `mixpanel_not_admin` when the account may not list.
        """
        question = _Question(
            "account",
            f"/api/app/projects/{self._project.project_id}/service-accounts",
            partial(parse_account, username=self._project.username),
            counted=False,
            bounds=Bounds(_ACCOUNT_BYTES, _APP_TIMEOUT_S),
            method="GET",
        )
        try:
            return await self._ask(question)
        except VendorAuthFailed as exc:
            if exc.status != 403:
                raise
            sentence = "The service account is not an admin of this Mixpanel project."
            raise not_an_admin(sentence, status=exc.status) from exc

    async def first_page(
        self,
        cohort_id: int,
        match_property: str,
        *,
        page_size: int | None = None,
        gate: asyncio.Semaphore | None = None,
        tries: int | None = None,
    ) -> Page:
        """Open a query session on a cohort and read page 0, which alone has `total`. Costs one counted query.

        `tries`: in all, where not as many as for everything else.
        """
        question = _page_question("first page of profiles", cohort_id, match_property, page_size, {})
        return await self._ask(question, gate=gate, retry=replace(self._retry, attempts=tries) if tries else None)

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
        session = {"session_id": session_id, "page": str(number)}
        question = _page_question("page of profiles", cohort_id, match_property, page_size, session)
        return await self._ask(question, gate=gate, run=run)

    async def profiles(self, distinct_ids: Sequence[str], match_property: str) -> Page:
        """Read the profiles of a few users, with the one property. Costs one counted query."""
        form = {
            "distinct_ids": json.dumps(list(distinct_ids)),
            "output_properties": json.dumps([match_property]),
        }
        parse = partial(decode_page, match_property=match_property)
        bounds = _page_bounds(len(distinct_ids))
        question = _Question("first page of profiles", _PROFILES_PATH, parse, counted=True, bounds=bounds, form=form)
        return await self._ask(question)

    async def _ask(
        self,
        question: _Question[T],
        *,
        gate: asyncio.Semaphore | None = None,
        run: Callable[[Callable[[], T]], Awaitable[T]] | None = None,
        retry: RetryPlan | None = None,
    ) -> T:
        """Send with retries; reading the answer is part of a try, since a cut-off answer is a passing failure."""

        async def ask_once() -> T:
            if gate is None:
                answer = await self._send(question)
            else:
                async with gate:
                    answer = await self._send(question)
            raise_for_status(answer, cohort_id=question.cohort_id)
            decode = partial(MIXPANEL.understand, question.parse, answer.body, answer.status)
            return decode() if run is None else await run(decode)

        return await Tries(retry or self._retry, self._note_tries).retried(ask_once)

    async def _send(self, question: _Question[T]) -> Answer:
        request = self._request(question)
        entry = await asyncio.to_thread(self._budget.spend) if question.counted else None
        self.requests += 1
        began_s = time.monotonic()
        try:
            answer = await MIXPANEL.exchange(self._http, request, question.bounds)
        except VendorError as exc:
            self._note_call(question.what, exc.status, began_s)
            if entry is not None:
                self.queries += 1  # it may have been counted: better to wait once too often
            raise
        self._note_call(question.what, answer.status, began_s)
        await self._learn(answer.headers)
        await self._settle(entry, answer.status)
        return answer

    def _request(self, question: _Question[T]) -> httpx.Request:
        """Build a request; address, credentials and headers of a path are worked out once."""
        template = self._templates.get(question.path)
        if template is None:
            template = self._templates[question.path] = self._template(question)
        form = question.form
        content = None if form is None else "&".join(_encoded(*pair) for pair in form.items()).encode()
        return filled(template, content)

    def _template(self, question: _Question[T]) -> httpx.Request:
        params = {"project_id": str(self._project.project_id)}
        if self._project.workspace_id is not None:
            params["workspace_id"] = str(self._project.workspace_id)
        headers = {"Accept": "application/json", "Authorization": self._project.authorization}
        if question.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return MIXPANEL.template(
            self._http,
            question.method,
            self._project.base_url + question.path,
            params=params if question.path.startswith("/api/query") else None,
            headers=headers,
            timeout=httpx.Timeout(question.bounds.within_s, connect=30.0),
        )

    async def _learn(self, headers: Mapping[str, str]) -> None:
        policy = headers.get("RateLimit-Policy", "")
        if not policy or policy == self._policy:
            return
        self._policy = policy
        if limit := stated_limit(headers):
            await asyncio.to_thread(self._budget.learn, limit)

    async def _settle(self, entry: int | None, status: int) -> None:
        if entry is None:
            return
        if status in UNCOUNTED:
            await asyncio.to_thread(self._budget.give_back, entry)
        else:
            self.queries += 1


def _page_question(
    what: str, cohort_id: int, match_property: str, page_size: int | None, session: Mapping[str, str]
) -> _Question[Page]:
    """Ask for a page of a cohort's profiles; without a `session` it opens one, and that is counted."""
    form = {
        "filter_by_cohort": json.dumps({"id": cohort_id}),
        "include_all_users": "false",  # the default is true, and would add ids that have no profile
        "output_properties": json.dumps([match_property]),
        **session,
    }
    if page_size is not None:
        form["page_size"] = str(page_size)
    parse = partial(decode_page, match_property=match_property, is_first=not session)
    bounds = _page_bounds(max(page_size or 0, _USUAL_PAGE_SIZE))
    return _Question(what, _PROFILES_PATH, parse, counted=not session, bounds=bounds, form=form, cohort_id=cohort_id)


def _page_bounds(rows: int) -> Bounds:
    return Bounds(_PAGE_BYTES + rows * _ROW_BYTES, _QUERY_TIMEOUT_S)


@lru_cache(maxsize=64)
def _encoded(name: str, value: str) -> str:
    """Encode a field of a form; those of a cohort's pages are all the same but one."""
    return urlencode({name: value})
