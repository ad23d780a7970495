"""A receiver of the sandbox as tests see it: how to sign in, what it holds, and what it is to answer."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections.destinations import connect_receiver
from core.connections.receiver_form import ReceiverForm
from data.models import MemberId

if TYPE_CHECKING:
    from tests.stage.sandbox import Sandbox


# By which id a receiver that is connected knows people.
DISTINCT_ONLY = {"member_id": MemberId.DISTINCT}
BY_USER_ID = {"member_id": MemberId.PROPERTY, "member_property": "$user_id"}


class Receiver:
    """One receiver, seen from behind; `key` is what it knows people by, `secret` the password, token or value."""

    def __init__(self, sandbox: Sandbox, facts: dict[str, Any]) -> None:
        self._sandbox = sandbox
        self.name: str = facts["name"]
        self.url: str = facts["url"]
        self.sign_in: str = facts["sign_in"]
        self.username: str = facts["username"]
        self.secret: str = facts["secret"]
        self.header: str = facts["header"]
        self.key: str = facts["key"]
        self.replaces: bool = facts["replaces"]
        self._groups = f"/sandbox/api/receivers/{self.name}/groups"

    def members(self, cohort: int, project: str = "3713224") -> dict[str, str] | None:
        """Whom the receiver holds, key -> distinct id; None while it does not know the cohort."""
        answer = self._sandbox.get(f"{self._groups}/{project}/{cohort}")
        return None if answer.status_code == 404 else answer.raise_for_status().json()["members"]

    def forget(self, cohort: int, project: str = "3713224") -> None:
        """Delete the cohort there, as its owner may: adding and removing are answered 404 from then on."""
        self._sandbox.delete(f"{self._groups}/{project}/{cohort}").raise_for_status()

    def fault(self, name: str, **options: Any) -> None:
        """Switch a fault on that strikes messages to this receiver alone."""
        self._sandbox.fault(name, target="receivers", path=urlsplit(self.url).path, **options)

    def messages(self) -> list[dict[str, Any]]:
        """The messages that arrived here since the log was emptied."""
        return [message for message in self._sandbox.messages() if message.get("receiver") == self.name]

    def send(
        self,
        action: str,
        ids: Iterable[str | dict[str, Any]],
        *,
        cohort: int,
        **parameters: Any,
    ) -> httpx.Response:
        """Send one message, as somebody else than the product; members are ids under the key, or whole objects."""
        rows = [{"mixpanel_distinct_id": id, self.key: id} if isinstance(id, str) else id for id in ids]
        body = {
            "mixpanel_project_id": "3713224",
            "mixpanel_cohort_id": str(cohort),
            "mixpanel_cohort_name": "Sent by somebody else",
            "mixpanel_session_id": str(uuid.uuid4()),
            "page_info": {"total_pages": 1, "page_count": 1},
            "members": rows,
            **parameters,
        }
        message = {"action": action, "parameters": body}
        return self._sandbox.post(self.url, json=message, **self.credentials())

    def credentials(self) -> dict[str, Any]:
        """What a request needs to sign in, as httpx takes it."""
        by_sign_in: dict[str, dict[str, Any]] = {
            "basic": {"auth": (self.username, self.secret)},
            "bearer": {"headers": {"Authorization": f"Bearer {self.secret}"}},
            "header": {"headers": {self.header: self.secret}},
            "path": {},
        }
        return by_sign_in[self.sign_in]


def form_of(receiver: Receiver, **known_by: str) -> ReceiverForm:
    """Fill in the form of a receiver, with ids sent under its own key."""
    return ReceiverForm(
        SecretStr(receiver.url),
        sign_in="address" if receiver.sign_in == "path" else receiver.sign_in,
        secret=SecretStr("" if receiver.sign_in == "path" else receiver.secret),
        sign_in_name={"basic": receiver.username, "header": receiver.header}.get(receiver.sign_in, ""),
        member_key=receiver.key,
        adds_only=not receiver.replaces,
        **known_by,
    )


def connect(bridge: Bridge, receiver: Receiver, **known_by: str) -> int:
    """Connect a receiver as an admin does, named as it is; returns the connection."""
    connection = connect_receiver(bridge, LOCAL, form_of(receiver, **known_by), name=receiver.name)
    assert connection.id
    return connection.id
