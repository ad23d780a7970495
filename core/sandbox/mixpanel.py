"""Mixpanel's Query API (cohorts, engage) and the part of its App API that lists roles."""

import json
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from core.sandbox import people
from core.sandbox.paging import MAX_PAGE_SIZE, PAGE_SIZE, cut_page
from core.sandbox.people import Account, Cohort, Person
from core.sandbox.project import Project, Session
from core.sandbox.properties import list_event_properties, list_profile_properties
from core.sandbox.wire import Call, Refused, Service, as_list, as_object, reply

ROLE_ORDER = {"consumer": 1, "analyst": 2, "admin": 3, "owner": 4}
HELP_URL = "https://help.mixpanel.com/hc/en-us/articles/115004602563-Rate-Limits-for-Export-API-Endpoints"
# What lists hold while they are odd: types and gaps that stand in no documentation.
ODD_COHORTS: list[Any] = [
    None,
    {"id": None, "name": "Without an id"},
    {"id": "901", "name": None, "count": "3", "is_visible": None, "created": 1700000000, "description": []},
    {"id": "902", "name": "As text", "count": 3.0, "is_visible": None, "created": 1700000000, "description": []},
]
UNCACHED = "request for page in uncached query for params"


class Mixpanel:
    """Answers for one project. Limits and texts: mixpanel-headless' fixtures of real answers, read 2026-11-23."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.list_cohorts = self._query("cohorts", self._cohorts)
        self.engage = self._query("engage", self._engage)
        self.profile_properties = self._query("properties", self._profile_properties)
        self.event_properties = self._query("properties", self._event_properties)
        self.service_accounts = Service("app", "app", self._app(self._service_accounts))
        self.me = Service("app", "app", self._app(self._me))
        self.app_cohorts = Service("app", "app", self._app(self._app_cohorts))

    # Who asks

    def _account(self, call: Call) -> tuple[Account, str]:
        """Return the caller's account and highest role, or refuse."""
        given = call.credentials()
        if "unauthorized" in call.faults or given is None:
            raise Refused(401, "Unable to authenticate request")
        mine = [account for account in people.ACCOUNTS if (account.username, account.secret) == given]
        today = datetime.fromtimestamp(self.project.now(), UTC)
        mine = [a for a in mine if a.expires is None or datetime.fromisoformat(a.expires) > today]
        if not mine:
            raise Refused(401, "Unable to authenticate request")
        best = max(mine, key=lambda account: ROLE_ORDER[account.role])
        return best, best.role

    def _has_project_secret(self, call: Call) -> bool:
        """Return whether the project's own secret is given, which names the project: in the user's place, no password.

        For queries only, and documented until it is retired in March 2027 (Mixpanel docs reference/project-secret, read
        2026-11-26). Without the colon too: tap-mixpanel sends it so.
        """
        return "unauthorized" not in call.faults and call.credentials() == (people.PROJECT_SECRET, "")

    def _app(self, work: Any) -> Any:
        def answer(call: Call) -> Response:
            try:
                account, role = self._account(call)
                if "server_error" in call.faults:
                    raise Refused(500, "Internal server error")
                if "failure_200" in call.faults:
                    return reply({"status": "error", "error": "request timed out"})
                project_id = call.path.split("/")[4] if call.path.startswith("/api/app/projects/") else None
                if project_id not in (None, str(people.PROJECT_ID)):
                    raise Refused(403, "You do not have permission to access this project")
                results: Any = work(account, role)
                if "list_odd" in call.faults and call.path.rstrip("/").endswith("/service-accounts"):
                    results = [*_odd_accounts(account), *results]
                return reply({"status": "ok", "results": results})
            except Refused as refused:
                return reply({"status": "error", "error": refused.message}, refused.status)

        return answer

    # Limits around every query

    def _query(self, kind: str, work: Any) -> Service:
        def answer(call: Call) -> Response:
            try:
                if call.faults.keys() & {"server_error", "page_size_failure"}:
                    raise Refused(500, "Internal server error. Please try again later.")
                if call.faults.keys() & {"bad_request", "page_size_bad_request"}:
                    raise Refused(400, "Bad request.")
                if "page_size_forbidden" in call.faults:
                    raise Refused(403, "Forbidden")
                if "page_size_refused" in call.faults:
                    raise Refused(400, "page_size must be 1000 or less")
                if "query_failed" in call.faults:
                    return reply(_failure(call.note.get("page")))
                return reply(work(call, call.note["role"]))
            except Refused as refused:
                return self._refusal(call, refused)

        def finished(call: Call, response: Response | None) -> None:
            answered = None if "html_200" in call.faults else response
            if not call.note["session_id"]:
                # 401, 402 and 429 are not counted, every other answer is.
                counts = answered is not None and answered.status_code not in (401, 402, 429)
                self.project.end_query(call.query_number, counts=counts)
                call.note["counted"] = counts
            if answered is not None:
                answered.headers.update(self._policy())
                left = max(0, self.project.settings["hourly_limit"] - self.project.spent())
                free = max(0, self.project.settings["concurrent_limit"] - self.project.running())
                answered.headers["RateLimit"] = f'"project";r={left}, "project-concurrency";r={free}'

        return Service("mixpanel", kind, answer, self._admit, finished, _describe)

    def _admit(self, call: Call) -> Response | None:
        try:
            project_id = call.arguments().get("project_id")
            if self._has_project_secret(call):
                project_id = project_id or people.PROJECT_ID
                call.note["role"] = "owner"
            else:
                _, call.note["role"] = self._account(call)
            if project_id is None or not str(project_id).isdecimal():
                raise Refused(400, "project_id is required when a service account authenticates the request")
            if str(project_id) != str(people.PROJECT_ID):
                raise Refused(403, f"Service account does not have access to project {project_id}")
        except Refused as refused:
            return self._refusal(call, refused)
        if call.faults.keys() & {"load_shedding", "page_size_shed"}:
            text = f"Query rate limit exceeded for project_id: {people.PROJECT_ID}."
            return reply({"request": call.url, "error": text}, 429)
        # Further pages of a session are free (mixpanel-headless, pacer.classify; whether that also goes for the five
        # at a time is stated nowhere). A request that is refused here never was a query.
        if call.note["session_id"]:
            return None
        call.query_number, asked, running, opens_in = self.project.begin_query()
        hourly, concurrent = self.project.settings["hourly_limit"], self.project.settings["concurrent_limit"]
        if running > concurrent or "rate_limit_concurrency" in call.faults:
            self.project.end_query(call.query_number, counts=False)
            running = max(running, concurrent + 1)
            reason = f"the concurrency limit ({running}/{concurrent} queries running concurrently)."
            state = f'"project";r={max(0, hourly - asked + running)}, "project-concurrency";r=0;t=10'
            return self._limited(call, reason, state, 10)
        if asked > hourly or "rate_limit_hour" in call.faults:
            self.project.end_query(call.query_number, counts=False)
            opens_in = opens_in if asked > hourly else 3600
            reason = (
                f"the rate limit ({max(asked, hourly + 1)}/{hourly} queries running in the last hour). "
                f"For more information, please consult our documentation at {HELP_URL}"
            )
            state = f'"project";r=0;t={opens_in}, "project-concurrency";r={concurrent - running + 1}'
            return self._limited(call, reason, state, opens_in)
        return None

    def _limited(self, call: Call, reason: str, state: str, retry_s: int) -> Response:
        text = f"Query rate limit exceeded for project_id: {people.PROJECT_ID}. This request exceeded {reason}"
        headers = {**self._policy(), "RateLimit": state, "Retry-After": str(retry_s)}
        return reply({"request": call.url, "error": text}, 429, headers)

    def _refusal(self, call: Call, refused: Refused) -> Response:
        return reply({"request": call.url, "error": refused.message}, refused.status, self._policy())

    def _policy(self) -> dict[str, str]:
        settings = self.project.settings
        hour = f'"project";q={settings["hourly_limit"]};w=3600'
        together = f'"project-concurrency";q={settings["concurrent_limit"]};qu="concurrent-requests"'
        return {"RateLimit-Policy": f"{hour}, {together}"}

    # Cohorts

    def _cohorts(self, call: Call, role: str) -> list[Any]:
        odd = ODD_COHORTS if "list_odd" in call.faults else []
        return [*odd, *(self._cohort(cohort) for cohort in self.project.cohorts.values())]

    def _cohort(self, cohort: Cohort) -> dict[str, Any]:
        return {
            "id": cohort.id,
            "project_id": people.PROJECT_ID,
            "name": cohort.name,
            "description": cohort.description,
            "data_group_id": cohort.data_group_id,
            "count": len(self.project.members(cohort)),
            "is_visible": int(cohort.is_visible),
            "created": cohort.created,
        }

    # Engage

    def _engage(self, call: Call, role: str) -> dict[str, Any]:
        arguments = call.arguments()
        page = call.note["page"]
        if page is None:
            raise Refused(400, "page must be an integer of 0 or more")
        session_id = str(arguments.get("session_id") or "")
        if page and not session_id:
            raise Refused(400, "session_id is required when page is above 0")
        if session_id:
            if "session_forgotten" in call.faults:
                self.project.forget_session(session_id)
            session = self.project.session(session_id)
            if session is None or session.arguments != _fingerprint(arguments):
                raise Refused(400, UNCACHED)
        else:
            size = PAGE_SIZE if "page_size_ignored" in call.faults else _page_size(arguments)
            session = Session(_fingerprint(arguments), size, self._select(arguments, role))
            session_id = self.project.open_session(session)
        if "page_ignored" in call.faults:
            page = 0
        cut = cut_page(session, page, call.faults)
        properties = _output_properties(arguments)
        answer: dict[str, Any] = {
            "page": page,
            "page_size": cut.page_size,
            "session_id": session_id,
            "status": "ok",
        }
        if page == 0:
            # Only the first page has the total (airbyte and estuary connectors, read 2026-11-23).
            answer["total"] = cut.total
        return answer | {"results": [_result(person, properties) for person in cut.rows]}

    def _select(self, arguments: dict[str, Any], role: str) -> list[Person]:
        # `where`, `sort_key`, `search` and `limit` are read and have no effect: the product sends none of them, and
        # an expression evaluated half right would be worse than one that visibly filters nothing.
        by_cohort = arguments.get("filter_by_cohort")
        if by_cohort and arguments.get("behaviors"):
            raise Refused(400, "behaviors and filter_by_cohort are mutually exclusive")
        ids = _requested_ids(arguments)
        if not by_cohort:
            return self.project.everyone(ids)
        # Export Cohorts: owner, admin and analyst may, consumer may not (Mixpanel docs roles-and-permissions).
        if role == "consumer":
            raise Refused(403, "Your role does not have permission to export cohorts")
        cohort = self.project.cohorts.get(_cohort_id(by_cohort))
        if cohort is None:
            raise Refused(404, "Cohort not found")
        if cohort.data_group_id is not None:
            # What Mixpanel answers when a cohort's data group is not to be had (estuary/connectors PR#2550).
            raise Refused(404, f"Missing Datagroup {cohort.data_group_id} for cohort {cohort.id}")
        members = self.project.members(cohort)
        if not _boolean(arguments.get("include_all_users"), default=True):
            members = [person for person in members if person.properties is not None]
        if ids is None:
            return members
        requested = {self.project.resolve(id) for id in ids}
        return [person for person in members if person.id in requested]

    # Names of properties

    def _profile_properties(self, call: Call, role: str) -> dict[str, Any]:
        profiles = (person.properties or {} for person in self.project.everyone())
        return list_profile_properties(profiles, call.arguments())

    def _event_properties(self, call: Call, role: str) -> dict[str, Any]:
        return list_event_properties(self.project.all_events(), call.arguments())

    # App API

    def _service_accounts(self, account: Account, role: str) -> list[dict[str, Any]]:
        # Whether other roles may list is not documented; the stand-in takes the strict answer.
        if ROLE_ORDER[role] < ROLE_ORDER["admin"]:
            raise Refused(403, "You do not have permission to view service accounts of this project")
        return [
            {
                "id": row.id, "username": row.username, "last_used": "2026-11-20T10:00:00Z", "expires": row.expires,
                "created": "2026-01-01T00:00:00Z", "creator": 1, "user": row.id + 50_000, "hasSensitiveAccess": False,
                "role": row.role, "role_order": ROLE_ORDER[row.role], "target_type": row.target_type,
            }
            for row in people.ACCOUNTS
        ]  # fmt: skip

    def _me(self, account: Account, role: str) -> dict[str, Any]:
        project = {
            "name": people.PROJECT_NAME, "organization_id": 100, "timezone": "US/Pacific", "has_workspaces": True,
            "domain": "mixpanel.com", "type": "PROJECT", "role": {"id": ROLE_ORDER[role], "name": role},
            "permissions": ["view_base_reports"],
        }  # fmt: skip
        workspace = {
            "id": people.WORKSPACE_ID, "name": "All Project Data", "project_id": people.PROJECT_ID, "is_default": True,
            "is_global": True, "is_visible": True, "is_restricted": False,
        }  # fmt: skip
        return {
            "user_id": account.id + 50_000,
            "user_email": account.username,
            "user_name": account.username.partition(".")[0],
            "organizations": {"100": {"id": 100, "name": "Practice", "role": "member", "permissions": []}},
            "projects": {str(people.PROJECT_ID): project},
            "workspaces": {str(people.WORKSPACE_ID): workspace},
        }

    def _app_cohorts(self, account: Account, role: str) -> list[dict[str, Any]]:
        rows = [self._cohort(cohort) for cohort in self.project.cohorts.values()]
        extra: dict[str, Any] = {"is_locked": False, "verified": False, "active_integrations": []}
        return [{**row, "is_visible": bool(row["is_visible"]), **extra} for row in rows]


def _describe(call: Call) -> dict[str, Any]:
    arguments = call.arguments()
    note: dict[str, Any] = {"session_id": str(arguments.get("session_id") or ""), "counted": False}
    if call.path.rstrip("/").endswith("/engage"):
        page = str(arguments.get("page") or 0)
        note["page"] = int(page) if page.isdecimal() and len(page) < 10 else None
        note["arguments"] = {name: value for name, value in arguments.items() if name not in ("session_id", "page")}
    return note


def _odd_accounts(account: Account) -> list[Any]:
    """List somebody without a name, and the account itself once more in forms that are not documented."""
    return [
        {"id": 900, "username": None, "role": None, "expires": 0},
        {"id": 901, "username": account.username, "role": {"name": account.role.title()}, "expires": "Never"},
    ]


def _failure(page: int | None) -> dict[str, Any]:
    """Build what stands in the place of an answer: the envelope, and of a page the fields of an empty one."""
    empty: dict[str, Any] = {"results": [], "page": page, "page_size": PAGE_SIZE, "session_id": "x", "total": 0}
    return {**(empty if page is not None else {}), "status": "error", "error": "query timed out"}


def _fingerprint(arguments: dict[str, Any]) -> str:
    """Everything but the page must be repeated for every page of a session, or it is another query."""
    same = {name: str(_parsed(value)) for name, value in arguments.items() if name not in ("page", "session_id")}
    same["include_all_users"] = str(_boolean(arguments.get("include_all_users"), default=True))
    return json.dumps(same, sort_keys=True)


def _parsed(value: Any) -> Any:
    """JSON text and the JSON itself mean the same: clients send either."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _page_size(arguments: dict[str, Any]) -> int:
    given = str(arguments.get("page_size") or PAGE_SIZE)
    if not given.isdecimal() or not int(given[:9]):
        raise Refused(400, "page_size must be a positive integer")
    return min(int(given[:9]), MAX_PAGE_SIZE)


def _cohort_id(by_cohort: Any) -> int:
    id = (as_object(_parsed(by_cohort)) or {}).get("id")
    if isinstance(id, str) and id.isdecimal():
        id = int(id)
    if not isinstance(id, int) or isinstance(id, bool):
        raise Refused(400, 'filter_by_cohort must be a JSON object like {"id": 12345}')
    return id


def _boolean(value: Any, *, default: bool) -> bool:
    return default if value is None or value == "" else str(value).lower() not in ("false", "0")


def _requested_ids(arguments: dict[str, Any]) -> list[str] | None:
    if arguments.get("distinct_ids"):
        ids = as_list(_parsed(arguments["distinct_ids"]))
        if ids is None:
            raise Refused(400, "distinct_ids must be a JSON array")
        return [str(id) for id in ids]
    return [str(arguments["distinct_id"])] if arguments.get("distinct_id") else None


def _output_properties(arguments: dict[str, Any]) -> list[str] | None:
    given = arguments.get("output_properties")
    if not given:
        return None
    names = as_list(_parsed(given))
    if names is None:
        raise Refused(400, "output_properties must be a JSON array")
    return [str(name) for name in names]


def _result(person: Person, names: list[str] | None) -> dict[str, Any]:
    properties = person.properties or {}
    if names is not None:
        properties = {name: properties[name] for name in names if name in properties}
    return {"$distinct_id": person.distinct_id, "$properties": properties}
