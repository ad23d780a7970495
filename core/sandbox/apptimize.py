"""Apptimize's side: access tokens, and the endpoint that takes cohort-sync messages for its groups."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response

from core.sandbox.groups import Groups, Rules, describe_message, failed, read_message, succeeded
from core.sandbox.store import Store
from core.sandbox.wire import Call, Refused, Service, reply

RULES = Rules(key="$apptimize_user_id")


@dataclass(frozen=True)
class Token:
    """An access token, as the Tokens page lists it; its value is kept nowhere."""

    id: int
    name: str
    created_at: float
    workspace: str


class Apptimize:
    """Groups in the workspace that a token leads to; the usual one has no name.

    Every method may be called from any thread.
    """

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self.groups = Groups(store, now)
        self.cohort_sync = Service(
            "apptimize", "cohort-sync", self._answer, describe=lambda call: describe_message(call, RULES.key)
        )

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
                return failed(action, 500, "The message could not be stored", status=200)
            if call.method != "POST":
                return reply({"action": "test", "status": "success"})
            self.groups.take(read_message(call.body, workspace, RULES), RULES)
        except Refused as refused:
            return failed(action, refused.status, refused.message)
        return succeeded(action)


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
