"""Receivers of cohort-sync messages other than Apptimize, as public ones behave: one table, one implementation.

What each of them does, and where it was read, stands in `docs/decisions/013-receivers.md`.
"""

import base64
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from core.sandbox.groups import Groups, Rules, describe_message, failed, read_message, succeeded
from core.sandbox.store import Store
from core.sandbox.wire import Call, Refused, Service, reply

PATH = "/receivers"
SIGN_INS = ("basic", "bearer", "header", "path")
KEY_LIMIT = 255
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


@dataclass(frozen=True)
class Receiver:
    """A receiver: how it is signed in to, under which key it knows people, what it does with messages, how it answers.

    `fails_in_2xx` answers failures with the status of a success, and calls their code `provider`; `bare_401` says in a
    form of its own that somebody is not signed in.
    """

    kind: str
    label: str
    about: str
    sign_in: str
    key: str
    replaces: bool
    header: str = "X-Receiver-Key"
    success: int = 200
    fails_in_2xx: bool = False
    bare_401: bool = False
    refuses_unusable: bool = True
    tolerates_unknown: bool = False
    trims_ids: bool = False
    max_id_bytes: int | None = None
    name: str = ""
    secret: str = ""

    @property
    def username(self) -> str:
        return f"practice-{self.name}"

    @property
    def rules(self) -> Rules:
        return Rules(
            self.key, self.replaces, self.refuses_unusable, self.tolerates_unknown, self.trims_ids, self.max_id_bytes
        )

    @property
    def path(self) -> str:
        return f"{PATH}/{self.name}/{self.secret}" if self.sign_in == "path" else f"{PATH}/{self.name}"

    def admits(self, call: Call) -> bool:
        """Whether the request signs in, compared in constant time."""
        if self.sign_in == "path":
            return secrets.compare_digest(self.path.encode(), call.path.rstrip("/").encode())
        name, expected = self._credentials()
        return secrets.compare_digest(expected.encode(), call.headers.get(name, "").encode())

    def _credentials(self) -> tuple[str, str]:
        if self.sign_in == "basic":
            return "authorization", "Basic " + base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()
        if self.sign_in == "bearer":
            return "authorization", f"Bearer {self.secret}"
        return self.header, self.secret


KINDS = {
    receiver.kind: receiver
    for receiver in (
        Receiver(
            "replaces", "Replaces", "A full overwrite is the whole group, once all of its pages have arrived.",
            sign_in="basic", key="user_id", replaces=True,
        ),
        Receiver(
            "only-adds", "Only adds", "A full overwrite adds page by page and removes no one. Adding and removing are "
            "answered 404 for a cohort that it does not know, and every failure comes with its status.",
            sign_in="basic", key="mixpanel_distinct_id", replaces=False, bare_401=True, trims_ids=True,
            max_id_bytes=1024,
        ),
        Receiver(
            "secret-path", "Secret in the address", "A full overwrite adds and removes no one. Every answer has the "
            "status 201, failures too, and anyone without an id is passed over.",
            sign_in="path", key="user_id", replaces=False, success=201, fails_in_2xx=True, refuses_unusable=False,
            tolerates_unknown=True,
        ),
        Receiver(
            "bearer", "Bearer", "Replaces, and is signed in to with a bearer token.",
            sign_in="bearer", key="mixpanel_distinct_id", replaces=True,
        ),
        Receiver(
            "own-header", "A header of its own", "Replaces, and is signed in to with a header that it names.",
            sign_in="header", key="mixpanel_distinct_id", replaces=True,
        ),
    )
}  # fmt: skip
# What faults answer with their status, whoever is struck: as from something in front of the receiver.
STRUCK = {
    "unauthorized": (401, "The credentials are not valid"),
    "load_shedding": (429, "Too many requests, try again later"),
    "server_error": (500, "Something went wrong on our side"),
}
# What of a kind may be chosen when a receiver is made.
CHOICES = ("sign_in", "key", "header", "replaces")


class Receivers:
    """The receivers there are, one of each kind to begin with, and what they hold.

    Every method may be called from any thread.
    """

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.groups = Groups(store, now)
        self.cohort_sync = Service("receivers", "cohort-sync", self._answer, describe=self._describe)
        # Name, kind, what was chosen and the secret: what the kind does, this version says.
        self._kept: list[tuple[str, str, dict[str, Any], str]] = store.get("receivers", [])
        self._receivers = {
            name: replace(KINDS[kind], **chosen, name=name, secret=secret)
            for name, kind, chosen, secret in self._kept
            if kind in KINDS
        }
        for kind in KINDS:
            if kind not in self._receivers:
                self.make(kind)

    def listed(self) -> list[Receiver]:
        with self._lock:
            kinds = list(KINDS)
            return sorted(self._receivers.values(), key=lambda receiver: kinds.index(receiver.kind))

    def get(self, name: str) -> Receiver | None:
        with self._lock:
            return self._receivers.get(name)

    def make(self, kind: str, **chosen: Any) -> Receiver:
        """Make a receiver of a kind, with credentials of its own. Raises: ValueError saying what cannot be."""
        if kind not in KINDS:
            raise ValueError(f"There is no receiver of the kind {kind!r}; there are {', '.join(KINDS)}.")
        receiver = replace(KINDS[kind], **_checked(chosen))
        with self._lock:
            name = f"{kind}-{secrets.token_hex(3)}" if kind in self._receivers else kind
            made = replace(receiver, name=name, secret=secrets.token_urlsafe(18))
            self._receivers[name] = made
            self._kept.append((name, kind, chosen, made.secret))
            self._store.put("receivers", self._kept)
            return made

    def _describe(self, call: Call) -> dict[str, Any]:
        if (receiver := self._called(call)) is None:
            return {}
        note = describe_message(call, receiver.key)
        return {**note, "receiver": receiver.name, "header_names": sorted(call.headers)}

    def _called(self, call: Call) -> Receiver | None:
        receiver = self.get(call.path.split("/")[2])
        # Whose secret is not in the address has one address only.
        if receiver and receiver.sign_in != "path" and call.path.rstrip("/") != receiver.path:
            return None
        return receiver

    def _answer(self, call: Call) -> Response:
        receiver = self._called(call)
        action = call.note.get("action") or "unknown"
        if receiver is None:
            return failed(action, 404, "There is no receiver at this address")
        struck = next((answer for fault, answer in STRUCK.items() if fault in call.faults), None)
        if struck:
            return _with_status(receiver, action, Refused(*struck))
        try:
            if not receiver.admits(call):
                raise Refused(401, "The credentials are not valid")
            if "receiver_failure_200" in call.faults:
                return _in_2xx(receiver, action, Refused(500, "The message could not be stored"))
            if "cohort_in_deletion" in call.faults:
                raise Refused(404, "The cohort is being deleted")
            self.groups.take(read_message(call.body, receiver.name, receiver.rules), receiver.rules)
        except Refused as refused:
            return (_in_2xx if receiver.fails_in_2xx else _with_status)(receiver, action, refused)
        return succeeded(action, receiver.success)


def _with_status(receiver: Receiver, action: str, refused: Refused) -> Response:
    if receiver.bare_401 and refused.status == 401:
        return reply({"detail": refused.message}, 401, {"WWW-Authenticate": "Bearer"})
    return failed(action, refused.status, refused.message)


def _in_2xx(receiver: Receiver, action: str, refused: Refused) -> Response:
    if not receiver.fails_in_2xx:
        return failed(action, refused.status, refused.message, status=receiver.success)
    # The public receiver that does so knows two codes: what was asked is wrong, or it is.
    code = 500 if refused.status >= 500 else 400
    return failed(action, code, refused.message, status=receiver.success, code_name="provider")


def _checked(chosen: dict[str, Any]) -> dict[str, Any]:
    for name, value in chosen.items():
        if name not in CHOICES:
            raise ValueError(f"A receiver has no {name!r}; what may be chosen is {', '.join(CHOICES)}.")
        if isinstance(value, bool) != (name == "replaces"):
            raise ValueError(f"{name} cannot be {value!r}.")
    if chosen.get("sign_in", "basic") not in SIGN_INS:
        raise ValueError(f"sign_in is one of {', '.join(SIGN_INS)}.")
    key = chosen.get("key", "id")
    if not isinstance(key, str) or not 0 < len(key) <= KEY_LIMIT:
        raise ValueError(f"key is the name of a field: a text of 1 to {KEY_LIMIT} characters.")
    if not _HEADER_NAME.fullmatch(str(chosen.get("header", "X-Key"))):
        raise ValueError("header is the name of an HTTP header.")
    return chosen
