"""Groups that cohort-sync messages fill: what a message says, and the lists of members that it changes."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from core.sandbox.store import Store
from core.sandbox.wire import Call, Refused, as_list, as_object, reply

# Mixpanel docs cohort-sync/webhooks, read 2026-11-23: 1000 users a call, pages counted from 1.
MESSAGE_LIMIT = 1000
ACTIONS = ("members", "add_members", "remove_members")
DAY_S = 86_400
_OF_SESSION = "WHERE workspace = ? AND project = ? AND cohort = ? AND session = ?"


@dataclass(frozen=True)
class Rules:
    """What a receiver makes of messages: under which key it knows people, and what it does with the odd ones.

    `replaces` says whether `members` is the whole group or adds to it; then its pages are not looked at.
    """

    key: str
    replaces: bool = True
    refuses_unusable: bool = False
    tolerates_unknown: bool = False
    trims_ids: bool = False
    max_id_bytes: int | None = None


@dataclass(frozen=True)
class Group:
    """What one cohort fills in one workspace; `list` names the table that holds its members."""

    project: str
    cohort: str
    name: str
    description: str
    list: int
    messages: int
    updated_at: float
    workspace: str


@dataclass(frozen=True)
class Message:
    """One cohort-sync message; `members` are the distinct ids by the id that the receiver knows people by."""

    action: str
    project: str
    cohort: str
    name: str
    description: str
    session: str
    total_pages: int
    page: int
    members: dict[str, str]
    workspace: str


class Groups:
    """Groups keyed by Mixpanel project and cohort, in the workspace of their receiver; the usual one has no name.

    Every method may be called from any thread.
    """

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._lock = threading.RLock()
        self._forget_unfinished()

    def listed(self, workspace: str | None = None) -> list[tuple[Group, int]]:
        """Return every group, or those of a workspace, with the number of its members, by name."""
        where, values = ("", ()) if workspace is None else ("WHERE workspace = ?", (workspace,))
        order = "ORDER BY name COLLATE NOCASE, project, cohort, workspace"
        with self._lock:
            rows = self._store.rows(f"SELECT * FROM audience {where} {order}", *values)
            return [(group, self._count(group)) for group in (Group(*row) for row in rows)]

    def get(self, project: str, cohort: str, workspace: str = "") -> Group | None:
        where = "WHERE project = ? AND cohort = ? AND workspace = ?"
        rows = self._store.rows(f"SELECT * FROM audience {where}", project, cohort, workspace)
        return Group(*rows[0]) if rows else None

    def members(
        self, group: Group, *, search: str = "", limit: int = -1, offset: int = 0
    ) -> tuple[int, list[tuple[str, str]]]:
        """Return how many members match, and those of one page, by id."""
        where, values = f"FROM members_{group.list}", ()
        if search:
            where += " WHERE instr(lower(id), lower(?)) OR instr(lower(distinct_id), lower(?))"
            values = (search, search)
        with self._lock:
            if not self._store.value("SELECT 1 FROM sqlite_master WHERE name = ?", f"members_{group.list}"):
                return 0, []
            count = self._store.value(f"SELECT count(*) {where}", *values)
            page = f"SELECT id, distinct_id {where} ORDER BY id LIMIT ? OFFSET ?"
            return count, [(id, other) for id, other in self._store.rows(page, *values, limit, offset)]

    def delete(self, project: str, cohort: str, workspace: str = "") -> bool:
        with self._lock, self._store.transaction():
            group = self.get(project, cohort, workspace)
            if group is None:
                return False
            self._store.run(f"DROP TABLE members_{group.list}")
            self._store.run("DELETE FROM audience WHERE list = ?", group.list)
            return True

    def _count(self, group: Group) -> int:
        return self._store.value(f"SELECT count(*) FROM members_{group.list}")

    def take(self, message: Message, rules: Rules) -> None:
        """Do what a message says, whole or not at all. Raises: Refused for a group that is not there."""
        with self._lock, self._store.transaction():
            if message.action == "members" and rules.replaces:
                self._stage(message)
                return
            list, messages = self._find(message, rules)
            if list is None:
                return
            if message.action == "remove_members":
                gone = [(id,) for id in message.members]
                self._store.run_many(f"DELETE FROM members_{list} WHERE id = ?", gone)
            else:
                self._insert(list, message.members)
            self._record(message, list, messages + 1)

    def _find(self, message: Message, rules: Rules) -> tuple[int | None, int]:
        """Return the list of a group and how many messages it had: a new list where the message may make one."""
        group = self.get(message.project, message.cohort, message.workspace)
        if group is not None:
            return group.list, group.messages
        if message.action == "members" or (message.action == "add_members" and rules.tolerates_unknown):
            return self._new_list(), 0
        if rules.tolerates_unknown:
            return None, 0
        raise Refused(404, f"There is no group for cohort {message.cohort} of project {message.project}")

    def _stage(self, message: Message) -> None:
        """Keep a page of a full copy; the last one to arrive, in whatever order, swaps the copy in."""
        key = (message.workspace, message.project, message.cohort, message.session)
        deliveries = self._store.rows(f"SELECT list, total_pages FROM delivery {_OF_SESSION}", *key)
        if not deliveries:
            number = self._new_list()
            self._store.run(
                "INSERT INTO delivery (workspace, project, cohort, session, list, total_pages, touched_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                *key, number, message.total_pages, self._now(),
            )  # fmt: skip
            deliveries = [(number, message.total_pages)]
        number, total_pages = deliveries[0]
        if total_pages != message.total_pages:
            raise Refused(400, f"total_pages was {total_pages} in this session before, not {message.total_pages}")
        if number is None:
            return  # a page that arrives again after its session was swapped in changes nothing
        self._insert(number, message.members)
        self._store.run("INSERT OR IGNORE INTO delivery_page VALUES (?, ?)", number, message.page)
        if self._store.value("SELECT count(*) FROM delivery_page WHERE list = ?", number) < total_pages:
            return
        old = self.get(message.project, message.cohort, message.workspace)
        self._record(message, number, (old.messages if old else 0) + total_pages)
        self._finish(key, number)
        if old:
            self._store.run(f"DROP TABLE members_{old.list}")

    def _new_list(self) -> int:
        number = self._store.get("last_list", 0) + 1
        self._store.put("last_list", number)
        self._store.run(f"CREATE TABLE members_{number} (id TEXT PRIMARY KEY, distinct_id TEXT NOT NULL) WITHOUT ROWID")
        return number

    def _insert(self, number: int, members: dict[str, str]) -> None:
        self._store.run_many(f"INSERT OR REPLACE INTO members_{number} VALUES (?, ?)", members.items())

    def _record(self, message: Message, number: int, messages: int) -> None:
        self._store.run(
            "INSERT OR REPLACE INTO audience VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            message.project, message.cohort, message.name, message.description, number, messages, self._now(),
            message.workspace,
        )  # fmt: skip

    def _finish(self, key: tuple[str, str, str, str], number: int) -> None:
        self._store.run(f"UPDATE delivery SET list = NULL {_OF_SESSION}", *key)
        self._store.run("DELETE FROM delivery_page WHERE list = ?", number)

    def _forget_unfinished(self) -> None:
        """Drop copies that were begun and not finished for three days: the rest is not coming any more."""
        before = self._now() - 3 * DAY_S
        with self._store.transaction():
            stale = "FROM delivery WHERE list IS NOT NULL AND touched_at < ?"
            for (number,) in self._store.rows(f"SELECT list {stale}", before):
                self._store.run(f"DROP TABLE members_{number}")
                self._store.run("DELETE FROM delivery_page WHERE list = ?", number)
            self._store.run(f"DELETE {stale}", before)


def succeeded(action: str, status: int = 200) -> Response:
    return reply({"action": action, "status": "success"}, status)


def failed(action: str, code: int, message: str, *, status: int | None = None, code_name: str = "code") -> Response:
    """Answer a failure in the envelope that Mixpanel documents, with the code as the status unless another is named."""
    body = {"action": action, "status": "failure", "error": {"message": message, code_name: code}}
    return reply(body, status or code, {"Retry-After": "2"} if code == 429 else None)


def describe_message(call: Call, key: str) -> dict[str, Any]:
    """Note what arrived: counts and names of fields, never the people themselves."""
    try:
        message = as_object(json.loads(call.body)) or {}
    except ValueError:
        return {}
    parameters = as_object(message.get("parameters")) or {}
    pages = as_object(parameters.get("page_info")) or {}
    members = as_list(parameters.get("members")) or []
    keys = {key for member in members for key in as_object(member) or {}}
    return {
        "action": message.get("action") if isinstance(message.get("action"), str) else None,
        "session_id": parameters.get("mixpanel_session_id"),
        "page": _number(pages.get("page_count")),
        "page_count": _number(pages.get("page_count")),
        "total_pages": _number(pages.get("total_pages")),
        "members": len(members),
        "member_keys": sorted(keys),
        "parameter_keys": sorted(parameters),
        "cohort_id": parameters.get("mixpanel_cohort_id"),
        "cohort_name": parameters.get("mixpanel_cohort_name"),
        "project_id": parameters.get("mixpanel_project_id"),
        "unusable": sum(_member(member, key) is None for member in members),
    }


def read_message(body: bytes, workspace: str, rules: Rules) -> Message:
    """Read a message: nested parameters, numbers as int or text, unknown fields tolerated."""
    try:
        message = as_object(json.loads(body))
    except ValueError:
        raise Refused(400, "The body is not JSON") from None
    if message is None or message.get("action") not in ACTIONS:
        raise Refused(400, f"action must be one of {', '.join(ACTIONS)}")
    parameters = as_object(message.get("parameters"))
    if parameters is None:
        raise Refused(400, "parameters must be an object")
    total, page = _pages(parameters) if rules.replaces else (1, 1)
    return Message(
        action=str(message["action"]),
        project=_text(parameters, "mixpanel_project_id"),
        cohort=_text(parameters, "mixpanel_cohort_id"),
        name=_text(parameters, "mixpanel_cohort_name"),
        description=_text(parameters, "mixpanel_cohort_description", default=""),
        session=_text(parameters, "mixpanel_session_id", default=None if rules.replaces else ""),
        total_pages=total,
        page=page,
        members=_members(parameters, rules),
        workspace=workspace,
    )


def _members(parameters: dict[str, Any], rules: Rules) -> dict[str, str]:
    """Return the members by their id: two of the same id are one, as everywhere where they are kept under it."""
    members = as_list(parameters.get("members"))
    if members is None or any(as_object(member) is None for member in members):
        raise Refused(400, "parameters.members must be a list of objects")
    if len(members) > MESSAGE_LIMIT:
        raise Refused(400, f"{len(members)} members in one message; at most {MESSAGE_LIMIT} are taken")
    known = [pair for pair in (_member(member, rules.key) for member in members) if pair]
    if rules.refuses_unusable and (len(known) < len(members) or any(not id.strip() for id, _ in known)):
        raise Refused(400, f"Every member needs {rules.key}: a text that is not empty")
    if rules.trims_ids:
        known = [(id.strip(), distinct_id) for id, distinct_id in known]
    longest = max((len(id.encode()) for id, _ in known), default=0)
    if rules.max_id_bytes is not None and longest > rules.max_id_bytes:
        raise Refused(400, f"{rules.key} may have at most {rules.max_id_bytes} bytes")
    return dict(known)


def _pages(parameters: dict[str, Any]) -> tuple[int, int]:
    pages = as_object(parameters.get("page_info")) or {}
    total, page = _number(pages.get("total_pages")), _number(pages.get("page_count"))
    if total is None or page is None or not 1 <= page <= total:
        raise Refused(400, "page_info must count its pages from 1 to total_pages")
    return total, page


def _text(parameters: dict[str, Any], name: str, default: str | None = None) -> str:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, str | int) or (value == "" and default is None):
        raise Refused(400, f"parameters.{name} is missing")
    return _storable(str(value))


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _member(value: Any, key: str) -> tuple[str, str] | None:
    """Return the id under the key, and the distinct id; None for a member who cannot be told by it."""
    member = as_object(value) or {}
    id, distinct_id = member.get(key), member.get("mixpanel_distinct_id")
    if not isinstance(id, str) or not id or id != _storable(id):
        return None
    return id, _storable(str(distinct_id or ""))


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
