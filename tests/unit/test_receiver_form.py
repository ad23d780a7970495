"""What is entered of a receiver: each field is checked, and what is refused is refused at its field."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import SecretStr

from core.connections.receiver_form import ReceiverForm, checked
from core.errors import SettingsError
from core.vendors.receiver import Receiver
from data.models import MemberId, SignInKind

URL = "https://hooks.example.com/cohort-sync"
SECRET = "a-hidden-secret-9Xq"


def form(**entered: Any) -> ReceiverForm:
    """A form that is filled in well, but for what is given."""
    for name in ("url", "secret"):
        if name in entered:
            entered[name] = SecretStr(entered[name])
    return ReceiverForm(**{"url": SecretStr(URL), "secret": SecretStr(SECRET), **entered})


def basic(**entered: Any) -> ReceiverForm:
    return form(**{"sign_in": "basic", "sign_in_name": "someone", **entered})


def header(**entered: Any) -> ReceiverForm:
    return form(**{"sign_in": "header", "sign_in_name": "X-Api-Key", **entered})


def by_property(**entered: Any) -> ReceiverForm:
    return form(**{"sign_in": "bearer", "member_id": "property", "member_property": "account_key", **entered})


REFUSED = [
    ("Sign-in", form(sign_in="oauth")),
    ("Sign-in", form(sign_in="Basic")),
    # Apptimize's way is checked as before.
    ("Token", form(secret="")),
    ("Token", form(secret="a\nb")),
    ("Endpoint", form(url="")),
    ("Endpoint", form(url="https://hooks.example.com/\nx")),
    ("Endpoint", form(url="https://hooks.example.com/" + "x" * 2000)),
    *[
        ("User name", basic(sign_in_name=name))
        for name in (
            "",
            "  ",
            "some:one",
            ":",
            "some\none",
            "someone\n",
            "someone\r\nX-Evil: 1",
            "some\tone",
            "some\x00one",
            "\u200bsomeone",
            "someone\u200b",
            "x" * 256,
            "jérôme",
            "名前",
        )
    ],  # fmt: skip
    *[("Password", basic(secret=secret)) for secret in ("", " ", "a\nb", "a\u200bb", "pässword", "x" * 1001)],
    *[
        ("Token", form(sign_in="bearer", secret=secret))
        for secret in ("", "two words", "Bearer a-token", "a\r\nX-Evil: 1", "tökën", "a\u200b")
    ],
    *[
        ("Header", header(sign_in_name=name))
        for name in (
            "",
            " ",
            "X-Api\r\nKey",
            "X-Api-Key\n",
            "X-Api-Key\r\nHost: evil",
            "X-Api-Key:",
            "X Api Key",
            "X-Kéy",
            "X(Key)",
            "x" * 101,
            "Host",
            "host",
            "Content-Length",
            "content-type",
            "Transfer-Encoding",
            "Connection",
            "Cookie",
            "Proxy-Authorization",
            "TE",
            "Upgrade",
            "Expect",
            "Accept-Encoding",
            "X-Forwarded-For",
            "Sec-Fetch-Mode",
            ":path",
        )
    ],  # fmt: skip
    *[("Header's value", header(secret=value)) for value in ("", "a\r\nX-Evil: 1", "wért", "a\x00b")],
    ("Endpoint", form(sign_in="address", url="", secret="")),
    ("Endpoint", form(sign_in="address", url="https://hooks.example.com/\x00")),
    ("Member id", form(member_id="email")),
    *[
        ("Member property", by_property(member_property=name))
        for name in (
            "",
            "  ",
            "x" * 300,
            "x" * 256,
            "a\nb",
            "account\n",
            "a\x00b",
            "\u200bkey",
            "email",
            "$email",
            "Phone Number",
            "firstName",
            "$name",
            "$distinct_id",
        )
    ],  # fmt: skip
    *[
        ("Member key", by_property(member_key=key))
        for key in ("mixpanel_distinct_id", "x" * 256, "a\nb", "key\n", "a\x7fb", "key\u200b")
    ],
    ("Member key", by_property(member_property="mixpanel_distinct_id")),
    ("Member key", form(member_key="mixpanel_distinct_id")),
]


@pytest.mark.parametrize(("field", "entered"), REFUSED)
def test_what_cannot_be_used_is_refused_at_its_field_without_what_is_secret(field: str, entered: ReceiverForm):
    with pytest.raises(SettingsError, match=f"^{field}: .+[.]$") as caught:
        checked(entered)

    assert SECRET not in f"{caught.value.message} {caught.value.advice}"
    assert "\n" not in f"{caught.value.message} {caught.value.advice}"


@pytest.mark.parametrize(
    "entered",
    [
        basic(sign_in_name="some one"), basic(sign_in_name="x" * 255), basic(secret="with: colon and blank"),
        form(sign_in="bearer", secret="12|abc.DEF-_~+/=="), header(sign_in_name="X-Mixpanel-Integration-ID"),
        header(sign_in_name="Authorization", secret="Token abc"), header(sign_in_name="x" * 100),
        header(sign_in_name="!#$%&'*+.^_`|~-"), by_property(member_property="x" * 255),
        by_property(member_property="顧客番号"),
        by_property(member_property="campaign_name"), by_property(member_key="user \"id\" \\ é"),
        form(member_id="distinct", member_key="mixpanel_distinct_id"), form(member_id="distinct", member_key="user_id"),
    ],
)  # fmt: skip
def test_what_a_receiver_may_ask_for_is_taken_to_the_letter(entered: ReceiverForm):
    taken = checked(entered)

    assert (taken.url, taken.secret, taken.sign_in_name) == (entered.url, entered.secret, entered.sign_in_name)
    assert (taken.member_property, taken.adds_only) == (entered.member_property, entered.adds_only)


def test_what_a_sign_in_or_an_id_does_not_need_is_left_out():
    by_address = checked(form(sign_in="address", sign_in_name="left over"))
    by_token = checked(form(sign_in="bearer", sign_in_name="left: over", member_property="email"))

    assert (by_address.secret.get_secret_value(), by_address.sign_in_name) == ("", "")
    assert (by_token.sign_in_name, by_token.member_property) == ("", "")
    # The usual key is not stored, and what is behind a # is never sent.
    assert checked(by_property(member_key="account_key")).member_key == ""
    assert checked(form(url=f"{URL}#part")).url.get_secret_value() == URL


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("apptimizeapitoken", "apt_1", SignInKind.APPTIMIZE),
        ("AUTHORIZATION", "bearer abc", SignInKind.BEARER),
        ("authorization", "Basic " + base64.b64encode(b"someone:pass:word").decode(), SignInKind.BASIC),
        ("Authorization", "Basic " + base64.b64encode(b"no colon").decode(), SignInKind.HEADER),
        ("Authorization", "Basic " + base64.b64encode("jérôme:x".encode()).decode(), SignInKind.HEADER),
        ("Authorization", "Basic not-base64", SignInKind.HEADER),
        ("Authorization", "Digest abc", SignInKind.HEADER),
        ("X-Authorization", "Bearer abc", SignInKind.HEADER),
    ],
)
def test_a_header_that_is_a_sign_in_of_another_kind_is_taken_as_that(name: str, value: str, kind: SignInKind):
    taken = checked(header(sign_in_name=name, secret=value))
    receiver = Receiver(URL, taken.secret.get_secret_value(), SignInKind(taken.sign_in), taken.sign_in_name)

    assert taken.sign_in == kind
    sent = {name.lower(): text.lower() for name, text in receiver.headers().items()}
    assert sent == {name.lower(): value.lower()}


def test_what_is_entered_is_in_no_text_of_the_form_or_of_the_receiver():
    secret = form(sign_in="address", url=f"https://hooks.example.com/{SECRET}")
    receiver = Receiver(f"https://hooks.example.com/{SECRET}", SECRET, SignInKind.BASIC, "someone")

    assert SECRET not in f"{secret!r} {secret} {receiver!r} {receiver} {checked(secret)!r}"


def test_the_id_is_apptimizes_unless_another_is_chosen():
    assert (form().member_id, form().adds_only) == (MemberId.APPTIMIZE, False)
