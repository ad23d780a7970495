"""The example that the form of a receiver shows: what is sent, and nothing of a secret."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from core.connections.example_message import example_message
from core.connections.receiver_form import ReceiverForm, usual_key
from core.vendors.cohort_sync import EndpointDelivery
from core.vendors.delivery import Target
from core.vendors.receiver import Receiver
from data.models import Member, MemberId, SignInKind
from tests.stage.members import ListedMembers


def delivered(form: ReceiverForm, members: list[Member]) -> httpx.Request:
    """What a delivery to this receiver sends."""
    requests = list[httpx.Request]()

    async def ours() -> None:
        pass

    def take(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"status": "success"})

    async def main() -> None:
        receiver = Receiver(
            form.url.get_secret_value(),
            form.secret.get_secret_value(),
            SignInKind(form.sign_in),
            form.sign_in_name,
            usual_key(form.member_id, form.member_property),
        )
        target = Target(1234567, 7654321, "Example cohort", "Example cohort", "Two people who are made up")
        async with httpx.AsyncClient(transport=httpx.MockTransport(take)) as http:
            await EndpointDelivery(http, receiver, ours).overwrite(
                target, ListedMembers([members]), members=len(members)
            )

    asyncio.run(main())
    (request,) = requests
    return request


def without_session(body: str | bytes) -> dict[str, Any]:
    message = json.loads(body)
    message["parameters"].pop("mixpanel_session_id")
    return message


@pytest.mark.parametrize("sign_in", list(SignInKind))
@pytest.mark.parametrize(
    ("member_id", "begins"), [(MemberId.APPTIMIZE, "i_"), (MemberId.DISTINCT, ""), (MemberId.PROPERTY, "example-")]
)
def test_the_example_is_what_a_delivery_sends(sign_in: SignInKind, member_id: MemberId, begins: str):
    name = {SignInKind.BASIC: "ann", SignInKind.HEADER: "X-Key"}.get(sign_in, "")
    property_name = 'pl"an}' if member_id == MemberId.PROPERTY else ""
    form = ReceiverForm(SecretStr("https://e.example/a"), sign_in, SecretStr("hunter2"), name, member_id, property_name)
    members = [Member(f"{begins}{person}", person) for person in ("user-1001", "user-1002")]

    example, sent = example_message(form), delivered(form, members)

    assert without_session(example.body) == without_session(sent.content)
    assert all(header in sent.headers for header in example.headers)
    assert example.headers["Content-Type"] == sent.headers["Content-Type"]


@pytest.mark.parametrize("sign_in", list(SignInKind))
@pytest.mark.parametrize(
    "url", ["https://ann:hunter2@e.example/", "https://e.example/in?token=hunter2", "hunter2", "https://[hunter2", ""]
)
def test_nothing_of_a_secret_is_in_it(sign_in: SignInKind, url: str):
    form = ReceiverForm(SecretStr(url), sign_in, SecretStr("hunter2"), "X-Key")

    assert "hunter2" not in str(example_message(form)) + repr(example_message(form))


def test_of_an_address_that_is_the_secret_the_host_is_shown():
    form = ReceiverForm(SecretStr("https://e.example:8443/in/hunter2"), SignInKind.ADDRESS)

    assert example_message(form).request == "POST https://e.example:8443/…"


@pytest.mark.parametrize("entered", ["\u202e", "\ud800", "\n", "</code>", "`"])
def test_what_is_entered_steers_nothing(entered: str):
    url = SecretStr("https://e.example/")
    form = ReceiverForm(url, SignInKind.HEADER, sign_in_name=f"X{entered}Y", member_key=f"k{entered}y")

    text = str(example_message(form))

    assert not {"\u202e", "\ud800"} & set(text)
    assert text.partition("\n\n")[0].count("\n") == 2
