"""Apptimize's side: access tokens, groups, and the endpoint that takes cohort-sync messages."""

import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from core.sandbox.store import Store
from core.sandbox.wire import Call, Refused, Service, as_list, as_object, reply

# Mixpanel docs cohort-sync/webhooks, read 2026-11-23: 1000 users a call, pages counted from 1.
MESSAGE_LIMIT = 1000
ACTIONS = ("members", "add_members", "remove_members")
DAY_S = 86_400
_OF_SESSION = "WHERE workspace = ? AND project = ? AND cohort = ? AND session = ?"


@dataclass(frozen=True)
class Token:
    """An access token, as the Tokens page lists it; its value is kept nowhere."""

    id: int
    name: str
    created_at: float
    workspace: str


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
    """One cohort-sync message; `members` are the distinct ids by Apptimize id."""

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


class Apptimize:
    """Groups keyed by Mixpanel project and cohort, in the workspace that a token leads to; the usual one has no name.

    Every method may be called from any thread.
    """

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._lock = threading.RLock()
        self.cohort_sync = Service("apptimize", "cohort-sync", self._answer, describe=_describe)
        self._forget_unfinished()

    # Tokens

    def new_token(self, name: str, workspace: str = "") -> str:
        """Make a token and return its value, which is stored nowhere: only its hash is."""
        value = f"apt_{secrets.token_urlsafe(27)}"
        self._store.run(
            "INSERT INTO token (name, hash, created_at, workspace) VALUES (?, ?, ?, ?)",
            name, _hash(value), self._now(), workspace,
        )  # fmt: skip
        return value

    def tokens(self) -> list[Token]:
        rows = self._store.rows("SELECT id, name, created_at, workspace FROM token ORDER BY id")
        return [Token(*row) for row in rows]

    def delete_token(self, id: int) -> None:
        self._store.run("DELETE FROM token WHERE id = ?", id)

    def _workspace(self, value: str) -> str | None:
        """Return the workspace that a token leads to; None when there is no such token."""
        return self._store.value("SELECT workspace FROM token WHERE hash = ?", _hash(value)) if value else None

    # Groups

    def groups(self) -> list[tuple[Group, int]]:
        """Return every group with the number of its members, by name."""
        with self._lock:
            rows = self._store.rows("SELECT * FROM audience ORDER BY name COLLATE NOCASE, project, cohort, workspace")
            return [(group, self._count(group)) for group in (Group(*row) for row in rows)]

    def group(self, project: str, cohort: str, workspace: str = "") -> Group | None:
        where = "WHERE project = ? AND cohort = ? AND workspace = ?"
        rows = self._store.rows(f"SELECT * FROM audience {where}", project, cohort, workspace)
        return Group(*rows[0]) if rows else None

    def members(
        self, group: Group, *, search: str = "", limit: int = -1, offset: int = 0
    ) -> tuple[int, list[tuple[str, str]]]:
        """Return how many members match, and those of one page, by Apptimize id."""
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

    def delete_group(self, project: str, cohort: str, workspace: str = "") -> bool:
        with self._lock, self._store.transaction():
            group = self.group(project, cohort, workspace)
            if group is None:
                return False
            self._store.run(f"DROP TABLE members_{group.list}")
            self._store.run("DELETE FROM audience WHERE list = ?", group.list)
            return True

    def _count(self, group: Group) -> int:
        return self._store.value(f"SELECT count(*) FROM members_{group.list}")

    # Messages

    def _answer(self, call: Call) -> Response:
        action = call.note.get("action") or "unknown"
        try:
            workspace = self._workspace(call.headers.get("apptimizeapitoken", ""))
            if "unauthorized" in call.faults or workspace is None:
                raise Refused(401, "The access token is missing or not valid")
            if "load_shedding" in call.faults:
                raise Refused(429, "Too many requests, try again later")
            if "server_error" in call.faults:
                raise Refused(500, "Something went wrong on our side")
            if "apptimize_failure_200" in call.faults:
                return _failure(action, 500, "The message could not be stored", status=200)
            if call.method != "POST":
                return reply({"action": "test", "status": "success"})
            self._take(_read(call.body, workspace))
        except Refused as refused:
            return _failure(action, refused.status, refused.message)
        return reply({"action": action, "status": "success"})

    def _take(self, message: Message) -> None:
        with self._lock, self._store.transaction():
            if message.action == "members":
                self._stage(message)
                return
            group = self.group(message.project, message.cohort, message.workspace)
            if group is None:
                raise Refused(404, f"There is no group for cohort {message.cohort} of project {message.project}")
            if message.action == "add_members":
                self._insert(group.list, message.members)
            else:
                gone = [(id,) for id in message.members]
                self._store.run_many(f"DELETE FROM members_{group.list} WHERE id = ?", gone)
            self._record(message, group.list, group.messages + 1)

    def _stage(self, message: Message) -> None:
        """Keep a page of a full copy; the last one to arrive, in whatever order, swaps the copy in."""
        key = (message.workspace, message.project, message.cohort, message.session)
        deliveries = self._store.rows(f"SELECT list, total_pages FROM delivery {_OF_SESSION}", *key)
        if not deliveries:
            number = self._store.get("last_list", 0) + 1
            self._store.put("last_list", number)
            self._store.run(
                f"CREATE TABLE members_{number} (id TEXT PRIMARY KEY, distinct_id TEXT NOT NULL) WITHOUT ROWID"
            )
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
        old = self.group(message.project, message.cohort, message.workspace)
        self._record(message, number, (old.messages if old else 0) + total_pages)
        self._finish(key, number)
        if old:
            self._store.run(f"DROP TABLE members_{old.list}")

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


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def _failure(action: str, code: int, message: str, *, status: int | None = None) -> Response:
    body = {"action": action, "status": "failure", "error": {"message": message, "code": code}}
    return reply(body, status or code, {"Retry-After": "2"} if code == 429 else None)


def _describe(call: Call) -> dict[str, Any]:
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
        "unusable": sum(_member(member) is None for member in members),
    }


def _read(body: bytes, workspace: str) -> Message:
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
    members = as_list(parameters.get("members"))
    if members is None or any(as_object(member) is None for member in members):
        raise Refused(400, "parameters.members must be a list of objects")
    if len(members) > MESSAGE_LIMIT:
        raise Refused(400, f"{len(members)} members in one message; at most {MESSAGE_LIMIT} are taken")
    pages = as_object(parameters.get("page_info")) or {}
    total, page = _number(pages.get("total_pages")), _number(pages.get("page_count"))
    if total is None or page is None or not 1 <= page <= total:
        raise Refused(400, "page_info must count its pages from 1 to total_pages")
    known = [pair for pair in map(_member, members) if pair]
    return Message(
        action=str(message["action"]),
        project=_text(parameters, "mixpanel_project_id"),
        cohort=_text(parameters, "mixpanel_cohort_id"),
        name=_text(parameters, "mixpanel_cohort_name"),
        description=_text(parameters, "mixpanel_cohort_description", default=""),
        session=_text(parameters, "mixpanel_session_id"),
        total_pages=total,
        page=page,
        members=dict(known),
        workspace=workspace,
    )


def _text(parameters: dict[str, Any], name: str, default: str | None = None) -> str:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, str | int) or (value == "" and default is None):
        raise Refused(400, f"parameters.{name} is missing")
    return _storable(str(value))


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _member(value: Any) -> tuple[str, str] | None:
    """Return Apptimize id and distinct id, or None for a member that cannot be targeted."""
    member = as_object(value) or {}
    id, distinct_id = member.get("$apptimize_user_id"), member.get("mixpanel_distinct_id")
    if not isinstance(id, str) or not id or id != _storable(id):
        return None
    return id, _storable(str(distinct_id or ""))


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
