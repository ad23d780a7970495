"""A running sandbox, and the few ways in which the tests here talk to it."""

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.sandbox import people
from core.sandbox.server import running

SHARED = Path(__file__).parents[4] / "shared"


class Client(httpx.Client):
    """An admin of the practice project, with shortcuts."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, auth=(people.ADMIN_USERNAME, people.ADMIN_SECRET), timeout=20)
        self.token = ""

    def engage(self, cohort_id: int | None = None, **fields: Any) -> httpx.Response:
        """Ask for one page, as the product does: form-encoded, profiles only."""
        if cohort_id is not None:
            fields |= {"filter_by_cohort": json.dumps({"id": cohort_id})}
        fields = {"include_all_users": "false", **fields}
        return self.post("/api/query/engage", params={"project_id": people.PROJECT_ID}, data=fields)

    def cohorts(self, **options: Any) -> httpx.Response:
        return self.post("/api/query/cohorts/list", params={"project_id": people.PROJECT_ID}, **options)

    def read_all(self, cohort_id: int, **fields: Any) -> list[dict[str, Any]]:
        """Read a cohort by the documented algorithm: until a page holds fewer rows than a page can."""
        rows: list[dict[str, Any]] = []
        page, session = 0, {}
        while True:
            answer = self.engage(cohort_id, page=page, **session, **fields).json()
            rows += answer["results"]
            if len(answer["results"]) < answer["page_size"]:
                return rows
            page, session = page + 1, {"session_id": answer["session_id"]}

    def oracle(self, cohort_id: int, **params: Any) -> list[dict[str, Any]]:
        return self.get(f"/sandbox/api/cohorts/{cohort_id}/profiles", params=params).json()

    def at(self, shift_seconds: float) -> None:
        self.put("/sandbox/api/clock", json={"shift_seconds": shift_seconds}).raise_for_status()

    def fault(self, name: str, **options: Any) -> None:
        self.put("/sandbox/api/faults", json={name: options}).raise_for_status()

    def settings(self, **settings: Any) -> None:
        self.put("/sandbox/api/project", json=settings).raise_for_status()

    def update(self, *updates: dict[str, Any], **params: Any) -> httpx.Response:
        rows = [{"$token": people.PROJECT_TOKEN, **update} for update in updates]
        # Not httpx's own JSON: it cannot send a lone surrogate.
        headers = {"Content-Type": "application/json"}
        return self.post("/engage", params=params, content=json.dumps(rows), headers=headers)

    def track(self, event: str, **properties: Any) -> httpx.Response:
        data = json.dumps([{"event": event, "properties": {"token": people.PROJECT_TOKEN, **properties}}])
        return self.post("/track", params={"verbose": 1}, data={"data": data})

    def person(self, id: str) -> dict[str, Any]:
        return self.get(f"/sandbox/api/people/{id}").json()

    def message(
        self, action: str, members: list[Any], *, page: Any = 1, total: Any = 1, session: str = "s-1", **parameters: Any
    ) -> httpx.Response:
        """Send one cohort-sync message; members are Apptimize ids, or whole objects."""
        if not self.token:
            self.token = self.post("/sandbox/api/tokens", json={"name": "Tests"}).json()["token"]
        rows = [
            {"mixpanel_distinct_id": f"d-{member}", "$apptimize_user_id": member} if isinstance(member, str) else member
            for member in members
        ]
        body = {
            "mixpanel_project_id": "3713224",
            "mixpanel_cohort_id": "5167402",
            "mixpanel_cohort_name": "Power users",
            "mixpanel_cohort_description": "",
            "mixpanel_session_id": session,
            "page_info": {"total_pages": total, "page_count": page},
            "members": rows,
            **parameters,
        }
        headers = {"ApptimizeApiToken": self.token}
        return self.post("/apptimize/cohort-sync", headers=headers, json={"action": action, "parameters": body})

    def members(self, cohort_id: str = "5167402") -> set[str]:
        return set(self.get(f"/sandbox/api/groups/3713224/{cohort_id}").json()["members"])

    def requests(self) -> dict[str, Any]:
        return self.get("/sandbox/api/requests").json()


@pytest.fixture(scope="module")
def shared_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("sandbox")) as server:
        yield server.url


@pytest.fixture
def client(shared_url: str) -> Iterator[Client]:
    """Talk to a sandbox that the module's tests share, without faults, limits in force and the log empty."""
    with Client(shared_url) as client:
        client.delete("/sandbox/api/faults")
        client.delete("/sandbox/api/requests", params={"queries": 1})
        client.settings(hourly_limit=60, concurrent_limit=5)
        client.at(0)
        yield client


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Client]:
    """Talk to a sandbox of one's own."""
    with running(tmp_path) as server, Client(server.url) as client:
        yield client


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Any]:
    """Start a sandbox on the same home, again and again."""

    @contextmanager
    def on_same_home(**options: Any) -> Generator[Client]:
        with running(tmp_path, **options) as server, Client(server.url) as client:
            yield client

    return on_same_home


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    return SHARED
