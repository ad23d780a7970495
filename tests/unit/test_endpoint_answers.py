"""What an endpoint answers to a cohort-sync message: only a documented success is one."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from core.errors import VendorAuthFailed, VendorError, VendorRefused, VendorSurprise, VendorUnavailable
from core.vendors.cohort_sync import EndpointDelivery
from core.vendors.cohort_sync import test_endpoint as check_receiver
from core.vendors.delivery import Target
from core.vendors.receiver import Receiver
from core.vendors.retry import RetryPlan
from data.models import Member, SignInKind
from tests.stage.members import ListedMembers

TARGET = Target(project_id=1, cohort_id=2, cohort_name="Payers", group_name="Payers")
SUCCESS = {"action": "members", "status": "success"}


async def ours() -> None:
    """The lease is ours."""


def deliver(
    body: object,
    *,
    receiver: Receiver = Receiver("https://e.example/", "token"),  # noqa: B008  (frozen)
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> None:
    """Send one message, and be answered with this."""

    async def main() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, json=body, headers=headers))
        async with httpx.AsyncClient(transport=transport) as http:
            retry = RetryPlan(attempts=1, over_s=0.01)
            delivery = EndpointDelivery(http, receiver, ours, retry=retry)
            await delivery.overwrite(TARGET, ListedMembers([[Member("i_1", "u1")]]), members=1)

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, "", {}, []])
def test_a_success_without_an_error_beside_it_is_one(error: object):
    deliver(SUCCESS)
    deliver(SUCCESS | {"error": error})


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"error": "queue full"}, VendorUnavailable),
        ({"error": {"message": "queue full"}}, VendorUnavailable),
        ({"error": {"message": "no such cohort", "code": 404}}, VendorRefused),
        ({"status": "failure"}, VendorUnavailable),
        ({"status": "failure", "error": "queue full"}, VendorUnavailable),
        ({"status": "failure", "error": ["queue full"]}, VendorUnavailable),
        ({"status": "failure", "error": {"code": "401"}}, VendorAuthFailed),
        ({"status": "failure", "error": {"code": 10**3000}}, VendorUnavailable),
        ({"status": "failure", "error": {"code": "soon"}}, VendorUnavailable),
        ({"status": "failure", "error": {"code": 200}}, VendorUnavailable),
        ({"status": "failure", "error": {"code": 4e2}}, VendorUnavailable),
        ({"status": "ok"}, VendorSurprise),
        ({"status": "Success"}, VendorSurprise),
        ({"status": True}, VendorSurprise),
        ({"status": None}, VendorSurprise),
        ({"action": "add_members"}, VendorSurprise),
    ],
)
def test_what_is_not_documented_as_a_success_is_a_failure_in_one_short_sentence(
    said: dict[str, Any], kind: type[VendorError]
):
    with pytest.raises(VendorError) as caught:
        deliver(SUCCESS | said)

    assert type(caught.value) is kind
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("body", [[], ["status"], "success", 1, None, {}])
def test_what_is_no_answer_of_the_documented_form_is_a_surprise(body: object):
    with pytest.raises(VendorSurprise, match="documented form"):
        deliver(body)


# --- what a person is told of each kind of receiver ----------------------------------------------------------------

SECRET = "a-hidden-secret-9Xq"
RECEIVERS = {
    kind: Receiver(f"https://e.example/{SECRET}", SECRET, kind, "X-Key" if kind == SignInKind.HEADER else "someone")
    for kind in SignInKind
}
AT_THE_FIELD = {
    SignInKind.APPTIMIZE: "Token: the endpoint does not accept it.",
    SignInKind.BASIC: "Password: the receiver does not accept it for this user name.",
    SignInKind.BEARER: "Token: the receiver does not accept it.",
    SignInKind.HEADER: "Header's value: the receiver does not accept it in this header.",
    SignInKind.ADDRESS: "Endpoint: the receiver does not accept messages at this address.",
}


def ask(receiver: Receiver, status: int) -> None:
    """Test a receiver that answers with this status, and with the secret."""

    async def main() -> None:
        headers = {"Location": f"https://e.example/{SECRET}/elsewhere"}
        transport = httpx.MockTransport(lambda _: httpx.Response(status, text=SECRET, headers=headers))
        async with httpx.AsyncClient(transport=transport) as http:
            await check_receiver(http, receiver)

    asyncio.run(main())


@pytest.mark.parametrize("kind", SignInKind)
@pytest.mark.parametrize("status", [401, 403])
def test_a_sign_in_that_is_not_accepted_is_said_at_the_field_that_it_was_entered_in(kind: SignInKind, status: int):
    with pytest.raises(VendorAuthFailed) as caught:
        ask(RECEIVERS[kind], status)

    assert caught.value.message == AT_THE_FIELD[kind]
    assert ("Apptimize" in caught.value.advice) == (kind is SignInKind.APPTIMIZE)
    assert SECRET not in f"{caught.value!r} {caught.value.advice}"


@pytest.mark.parametrize("kind", SignInKind)
def test_anything_else_counts_as_reachable(kind: SignInKind):
    for status in (200, 301, 302, 404, 405, 500):
        ask(RECEIVERS[kind], status)


@pytest.mark.parametrize("kind", SignInKind)
@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (401, VendorAuthFailed, "unauthorized"),
        (302, VendorRefused, "refused"),
        (404, VendorRefused, "refused"),
        (500, VendorUnavailable, "unavailable"),
        (200, VendorSurprise, "unreadable_answer"),
    ],
)
def test_a_receiver_that_is_not_apptimize_is_not_called_that(
    kind: SignInKind, status: int, error: type[VendorError], code: str
):
    headers = {"Location": f"https://e.example/{SECRET}/elsewhere"}
    with pytest.raises(error) as caught:
        deliver(SECRET, receiver=RECEIVERS[kind], status=status, headers=headers)

    is_apptimize = kind is SignInKind.APPTIMIZE
    assert caught.value.code == f"{'apptimize' if is_apptimize else 'receiver'}_{code}"
    told = f"{caught.value!r} {caught.value.message} {caught.value.advice}"
    assert ("pptimize" in told) == is_apptimize
    assert SECRET not in told


@pytest.mark.parametrize("kind", SignInKind)
def test_each_sign_in_sends_what_it_says_and_nothing_else(kind: SignInKind):
    sent = RECEIVERS[kind].headers()

    assert (
        sent
        == {
            SignInKind.APPTIMIZE: {"ApptimizeApiToken": SECRET},
            SignInKind.BASIC: {"Authorization": "Basic c29tZW9uZTphLWhpZGRlbi1zZWNyZXQtOVhx"},
            SignInKind.BEARER: {"Authorization": f"Bearer {SECRET}"},
            SignInKind.HEADER: {"X-Key": SECRET},
            SignInKind.ADDRESS: {},
        }[kind]
    )
