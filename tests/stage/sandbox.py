"""The sandbox as tests see it over real HTTP: its cohorts, what it holds, and what it is to answer."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from core.sandbox import people
from core.sandbox.server import running
from tests.stage import oracle
from tests.stage.receivers import Receiver

# The sandbox's clock stands still unless a test moves it: membership then is the same for oracle and export.
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()
LATER_S = 6 * 3600.0  # by then many members joined and left
PROJECT = str(people.PROJECT_ID)
EVERYONE, POWER, NEWSLETTER, REFUND, TESTERS, COMPANIES, SPENDERS, WEB, TRIAL, IMPORTED = range(5167401, 5167411)
_FAULTS, _PROJECT, _CLOCK = "/sandbox/api/faults", "/sandbox/api/project", "/sandbox/api/clock"
USER_COHORTS = (EVERYONE, POWER, NEWSLETTER, REFUND, TESTERS, SPENDERS, WEB, TRIAL, IMPORTED)


class Sandbox(httpx.Client):
    """The sandbox, seen from behind: what it holds, what it was asked, and what is to go wrong."""

    def __init__(self, url: str) -> None:
        # Given up before the server does: a request on a connection that it closes meanwhile is not answered.
        super().__init__(base_url=url, timeout=20, limits=httpx.Limits(keepalive_expiry=2))
        self._changed_at = {_FAULTS, _PROJECT, _CLOCK}
        self.url = url
        self.token = self.new_token()
        self.endpoint = f"{url}/apptimize/cohort-sync"
        self._shift_s = 0.0
        self._answers: dict[tuple[int, float], oracle.Answer] = {}

    def new_token(self) -> str:
        return self.post("/sandbox/api/tokens", json={"name": "Tests"}).raise_for_status().json()["token"]

    def delete_newest_token(self) -> None:
        """Delete a token as a person does, on the Tokens page."""
        numbers = [int(number) for number in re.findall(r"/tokens/(\d+)/delete", self.get("/apptimize/tokens").text)]
        assert self.post(f"/apptimize/tokens/{max(numbers)}/delete").status_code == 303

    def receiver(self, kind: str, **chosen: Any) -> Receiver:
        """Make a receiver of a kind (`KINDS` of the sandbox): `sign_in`, `key`, `header`, `replaces` may be chosen."""
        return Receiver(
            self, self.post("/sandbox/api/receivers", json={"kind": kind, **chosen}).raise_for_status().json()
        )

    def request(self, method: str, url: Any, **options: Any) -> httpx.Response:
        """Note what is changed, which tests do here alone."""
        if method != "GET":
            self._changed_at.add(str(url))
        return super().request(method, url, **options)

    def reset(self) -> None:
        """Reset the stage: no faults, no groups, limits in force, all queries left, the clock at noon."""
        if _FAULTS in self._changed_at:
            self.clear_faults()
        if _PROJECT in self._changed_at:
            self.limit(hourly_limit=60, concurrent_limit=5)
        if _CLOCK in self._changed_at:
            self.at(0)
        self.forget_requests()
        self.remove_groups()
        self._changed_at.clear()

    def remove_groups(self) -> None:
        """Remove the groups that the Groups page lists."""
        for group in re.findall(r'href="/apptimize/groups/([^"]+)"', self.get("/apptimize/groups").text):
            self.delete(f"/sandbox/api/groups/{group}").raise_for_status()

    def at(self, shift_s: float) -> None:
        self.put(_CLOCK, json={"shift_seconds": shift_s}).raise_for_status()
        self._shift_s = shift_s

    def fault(self, name: str, **options: Any) -> None:
        self.put(_FAULTS, json={name: options}).raise_for_status()

    def clear_faults(self) -> None:
        self.delete(_FAULTS).raise_for_status()

    def struck(self, name: str) -> int:
        return self.get("/sandbox/api/faults").json()["faults"][name]["struck"]

    def limit(self, **settings: int) -> None:
        self.put(_PROJECT, json=settings).raise_for_status()

    def raw(self, cohort: int) -> list[dict[str, Any]]:
        return self.get(f"/sandbox/api/cohorts/{cohort}/profiles").raise_for_status().json()

    def answer(self, cohort: int) -> oracle.Answer:
        """What the cohort's group must hold now: the same whenever the clock says the same."""
        key = cohort, self._shift_s
        if key not in self._answers:
            self._answers[key] = oracle.answer(self.raw(cohort))
        return self._answers[key]

    def group(self, cohort: int) -> dict[str, str] | None:
        """The members that the group holds, Apptimize id -> distinct id; None while there is no group."""
        answer = self.get(f"/sandbox/api/groups/{PROJECT}/{cohort}")
        return None if answer.status_code == 404 else answer.raise_for_status().json()["members"]

    def group_name(self, cohort: int) -> str:
        return self.get(f"/sandbox/api/groups/{PROJECT}/{cohort}").json()["name"]

    def fill(self, cohort: int, members: dict[str, str]) -> None:
        """Put a group there as if it had been delivered."""
        rows = [{"mixpanel_distinct_id": distinct, "$apptimize_user_id": id} for id, distinct in members.items()]
        total, session = max(1, -(-len(rows) // 1000)), str(uuid.uuid4())
        for page in range(total):
            body = {
                "mixpanel_project_id": PROJECT,
                "mixpanel_cohort_id": str(cohort),
                "mixpanel_cohort_name": "As before",
                "mixpanel_session_id": session,
                "page_info": {"total_pages": total, "page_count": page + 1},
                "members": rows[page * 1000 : (page + 1) * 1000],
            }
            message = {"action": "members", "parameters": body}
            self.post(self.endpoint, headers={"ApptimizeApiToken": self.token}, json=message).raise_for_status()

    def log(self) -> dict[str, Any]:
        return self.get("/sandbox/api/requests").json()

    def asked(self, kind: str) -> list[dict[str, Any]]:
        """The requests of a kind (`cohorts`, `engage`, `app`, `cohort-sync`) since the log was emptied."""
        return [request for request in self.log()["requests"] if request["kind"] == kind]

    def messages(self) -> list[dict[str, Any]]:
        """The cohort-sync messages that arrived since the log was emptied."""
        return [message for message in self.asked("cohort-sync") if message["method"] == "POST"]

    def forget_requests(self) -> None:
        self.delete("/sandbox/api/requests", params={"queries": 1}).raise_for_status()

    def wait_for(self, kind: str, *, page: int | None = None) -> None:
        """Return once such a request has arrived."""
        wait_until(lambda: any(page in (None, request.get("page")) for request in self.asked(kind)))


@contextmanager
def sandbox_at_noon(folder: Path) -> Generator[Sandbox]:
    """Serve a sandbox for as long as this lasts, with what it keeps in a folder; its clock stands at noon."""
    with running(folder, clock=lambda: NOON) as server, closing(Sandbox(server.url)) as sandbox:
        yield sandbox


def wait_until(holds: Callable[[], Any], *, within_s: float = 20.0) -> None:
    """Return as soon as something holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"this did not come true within {within_s:.0f} s"
        time.sleep(0.05)
