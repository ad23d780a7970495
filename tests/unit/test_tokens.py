"""Tokens of pipelines: how they are made, what is kept of them, and until when they count."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import col, select

from core.access import people, tokens
from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.errors import NotAllowed, NotFound, SettingsError, TokenRefused
from core.syncs import listing, recurring
from data.engine import read_session, write_session
from data.models import AuditEntry, Run
from data.sign_in_models import SignIn
from data.token_models import ApiToken
from tests.stage.api import new_token
from tests.stage.clock import FakeClock


def sign_in_admin(bridge: Bridge, email: str = "ann@example.com") -> Actor:
    person = people.add_person(bridge, LOCAL, email, "admin")
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        session.add(SignIn(key=email, person_id=person.id, issued_at=now, seen_at=now))
    return Actor(email, Role.ADMIN, person.id, email)


def list_lines(bridge: Bridge) -> list[tuple[str, str, str, str]]:
    with read_session(bridge.engine) as session:
        entries = session.exec(select(AuditEntry).order_by(col(AuditEntry.number))).all()
    return [(line.who, line.action, line.outcome, line.subject) for line in entries]


def kept_row(bridge: Bridge) -> ApiToken:
    with read_session(bridge.engine) as session:
        return session.exec(select(ApiToken)).one()


def test_the_text_of_a_token_is_shown_once_and_kept_nowhere(bridge: Bridge, tmp_path: Path):
    made = tokens.make_token(bridge, LOCAL, "airflow", "analyst", days=30)
    found = tokens.find_asker(bridge, made.text)

    assert re.fullmatch(r"cbr_[A-Za-z0-9_-]{43}", made.text)
    assert made.text not in repr(made)
    (view,) = tokens.list_tokens(bridge, LOCAL)
    assert (view.token.name, view.token.role, view.token.created_by) == ("airflow", "analyst", "local")
    assert view.token.secret_end == made.text[-4:]
    assert view.token.expires_at == view.token.created_at + timedelta(days=30)
    assert found.actor
    assert (found.actor.name, found.actor.role) == ("token: airflow", Role.ANALYST)
    bridge.engine.dispose()
    secret = made.text[4:40].encode()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_the_audit_log_says_who_made_and_revoked_one_without_its_text_or_hash(bridge: Bridge):
    made = tokens.make_token(bridge, LOCAL, "airflow", "analyst")
    tokens.revoke_token(bridge, LOCAL, made.token.id or 0)

    assert list_lines(bridge) == [
        ("local", "make_token", "done", "token airflow"),
        ("local", "revoke_token", "done", "token airflow"),
    ]
    with read_session(bridge.engine) as session:
        lines = session.exec(select(AuditEntry)).all()
    written = "".join(str((line.before, line.after)) for line in lines)
    assert made.text[-4:] not in written
    assert kept_row(bridge).secret_hash not in written


@pytest.mark.parametrize(
    ("name", "role", "days", "said"),
    [
        ("", "viewer", None, "Name: this is needed"),
        ("x" * 65, "viewer", None, "Name: at most 64"),
        ("two\nlines", "viewer", None, "Name: it holds characters"),
        ("air\u200b", "viewer", None, "Name: it begins or ends with an invisible character"),
        ("AIRFLOW", "viewer", None, "Name: a token has it already"),
        ("dbt", "admin", None, "Role: choose viewer or analyst"),
        ("dbt", "Analyst", None, "Role: choose"),
        ("dbt", "viewer", 0, "Days: a whole number"),
        ("dbt", "viewer", 10**9, "Days: a whole number"),
    ],
)
def test_what_cannot_be_a_token_is_refused_by_its_field(
    bridge: Bridge, name: str, role: str, days: int | None, said: str
):
    new_token(bridge, name="airflow")

    with pytest.raises(SettingsError, match=said):
        tokens.make_token(bridge, LOCAL, name, role, days=days)

    assert len(tokens.list_tokens(bridge, LOCAL)) == 1


def test_a_name_is_free_again_once_its_token_was_revoked(bridge: Bridge):
    first = tokens.make_token(bridge, LOCAL, "airflow", "viewer")
    tokens.revoke_token(bridge, LOCAL, first.token.id or 0)
    second = new_token(bridge, name="airflow")

    assert tokens.find_asker(bridge, first.text).actor is None
    assert tokens.find_asker(bridge, second).actor
    with pytest.raises(NotFound):
        tokens.revoke_token(bridge, LOCAL, 99)


def test_there_are_at_most_a_hundred(bridge: Bridge):
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        for number in range(100):
            row = {
                "name": f"t{number}",
                "role": "viewer",
                "secret_hash": str(number),
                "secret_end": "",
                "created_by": "",
            }
            session.add(ApiToken(**row, created_at=now))

    with pytest.raises(SettingsError, match="There are 100 tokens already"):
        new_token(bridge)


def demote(bridge: Bridge, maker: Actor) -> None:
    people.change_role(bridge, LOCAL, maker.person_id or 0, "analyst")


def deactivate(bridge: Bridge, maker: Actor) -> None:
    people.disable_person(bridge, LOCAL, maker.person_id or 0)


@pytest.mark.parametrize("take_away", [demote, deactivate])
def test_a_token_counts_as_long_as_whoever_made_it_could(bridge: Bridge, take_away: Callable[[Bridge, Actor], None]):
    people.add_person(bridge, LOCAL, "other@example.com", "admin")
    maker = sign_in_admin(bridge)
    text = new_token(bridge, by=maker)
    assert tokens.find_asker(bridge, text).actor

    take_away(bridge, maker)
    refused = tokens.find_asker(bridge, text)

    assert (refused.actor, refused.is_open) == (None, False)
    assert refused.refused
    assert "no longer an admin" in refused.refused.message
    assert [bool(view.refused) for view in tokens.list_tokens(bridge, LOCAL)] == [True]
    people.change_role(bridge, LOCAL, maker.person_id or 0, "admin")
    people.enable_person(bridge, LOCAL, maker.person_id or 0)
    assert tokens.find_asker(bridge, text).actor


def test_a_token_expires_at_its_time(bridge: Bridge, fake_clock: FakeClock):
    text = tokens.make_token(bridge, LOCAL, "airflow", "viewer", days=1).text

    fake_clock.shift_s += 24 * 3600 - 60
    assert tokens.find_asker(bridge, text).actor
    fake_clock.shift_s += 61

    refused = tokens.find_asker(bridge, text)
    assert refused.refused
    assert (refused.is_open, refused.refused.message) == (False, "This token has expired.")


def test_it_is_noted_at_most_once_a_minute_that_a_token_is_used(bridge: Bridge, fake_clock: FakeClock):
    text, used = new_token(bridge), list[object]()

    for _ in range(4):
        tokens.find_asker(bridge, text)
        used.append(kept_row(bridge).last_used_at)
        fake_clock.shift_s += 25

    assert used[0] is not None
    assert used[0] == used[1] == used[2]
    assert used[3] != used[2]
    assert [line[1] for line in list_lines(bridge)] == ["make_token"]


def test_an_action_asks_again_whether_its_token_counts_and_in_which_role(bridge: Bridge, group_with_runs: list[Run]):
    asker = tokens.find_asker(bridge, new_token(bridge, "viewer")).actor
    assert asker
    claiming = Actor(asker.name, Role.ADMIN, token_id=asker.token_id)

    with pytest.raises(NotAllowed, match="token: airflow has the role viewer"):
        recurring.run_now(bridge, claiming, group_with_runs[0].sync_id)
    with write_session(bridge.engine) as session:
        session.exec(select(ApiToken)).one().role = "admin"
    with pytest.raises(NotAllowed):
        tokens.list_tokens(bridge, claiming)
    tokens.revoke_token(bridge, LOCAL, asker.token_id or 0)
    with pytest.raises(TokenRefused, match=r"^This token was revoked\.$"):
        listing.list_syncs(bridge, claiming)
    with pytest.raises(TokenRefused):
        listing.list_syncs(bridge, Actor("token: made up", Role.ANALYST, token_id=99))

    assert [line[:3] for line in list_lines(bridge) if line[2] == "refused"] == [
        ("token: airflow", "run_now", "refused"),
        ("token: airflow", "list_tokens", "refused"),
        ("token: airflow", "list_syncs", "refused"),
        ("token: made up", "list_syncs", "refused"),
    ]


@pytest.mark.parametrize(
    "text", ["", "cbr_", "cbr_" + "x" * 43, "cbr_" + "x" * 42, "xyz_" + "x" * 43, "cbr_" + "é" * 43, "cbr_" + "x" * 44]
)
def test_what_is_no_token_opens_nothing(bridge: Bridge, text: str):
    new_token(bridge)

    asker = tokens.find_asker(bridge, text)

    assert (asker.is_open, asker.actor, asker.token_id) == (True, None, None)
