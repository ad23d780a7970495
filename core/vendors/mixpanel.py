"""Client of Mixpanel's Query and App APIs. Its words and its quirks stay in here.

Source of what is said of Mixpanel: its docs and OpenAPI files, and mixpanel-headless, all read 2026-11-23.
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TypeVar
from urllib.parse import urlencode

import httpx
from sqlalchemy import Engine

from core.connections import query_budget
from core.errors import SettingsError, VendorAuthFailed, VendorError, VendorUnavailable
from core.run_log import RecordCall, ignore_call
from core.vendors.mixpanel_answers import Account, Cohort, Page, decode_page, parse_account, parse_cohorts
from core.vendors.mixpanel_errors import error_of, error_text, raise_for_cohort
from core.vendors.mixpanel_project import Project
from core.vendors.retry import RetryPlan, network_sentence, worth_retrying

# Longer than the vendor's own deadlines, so that a slow answer is still an answer (headless api_client.py).
QUERY_TIMEOUT_S = 503.0
APP_TIMEOUT_S = 135.0

T = TypeVar("T")


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
        note: RecordCall = ignore_call,
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
            "POST", "/api/query/cohorts/list", parse=parse_cohorts, counted=True, timeout_s=QUERY_TIMEOUT_S
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
                parse=lambda body: parse_account(body, username),
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
        entry = await asyncio.to_thread(query_budget.spend, self._engine, self._project.key) if counted else None
        self.requests += 1
        began_s = time.monotonic()
        try:
            answer = await self._http.send(request)
        except httpx.HTTPError as exc:
            self._note_call(_spoken(path, counted=counted), None, began_s)
            if entry is not None:
                self.queries += 1  # it may have been counted: better to wait once too often
            raise VendorUnavailable(network_sentence("Mixpanel", exc), code="mixpanel_unreachable") from exc
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
            await asyncio.to_thread(query_budget.learn, self._engine, self._project.key, answer.headers)
        if entry is None:
            return
        if answer.status_code in query_budget.UNCOUNTED:
            await asyncio.to_thread(query_budget.give_back, self._engine, entry)
        else:
            self.queries += 1

    def _raise_for(self, answer: httpx.Response, cohort_id: int | None) -> None:
        if answer.is_success:
            return
        text = error_text(answer)
        if cohort_id is not None:
            raise_for_cohort(answer.status_code, text, cohort_id)
        raise error_of(answer, text)


def _spoken(path: str, *, counted: bool) -> str:
    """Name a request for the run's run_log."""
    if path.endswith("/cohorts/list"):
        return "list of cohorts"
    return ("first page of profiles" if counted else "page of profiles") if path.endswith("/engage") else "account"


@lru_cache(maxsize=64)
def _encoded(name: str, value: str) -> str:
    """Encode a field of a form; those of a cohort's pages are all the same but one."""
    return urlencode({name: value})
