"""Tokens for pipelines on People: made there, shown once, revoked there."""

from __future__ import annotations

import re

import pytest

from core.access import people, tokens
from core.access.roles import LOCAL
from core.bridge import Bridge
from data.engine import write_session
from data.token_models import ApiToken
from tests.pages.dashboard import AUDIT, PEOPLE, drawn, open_page, shown

TEXT = re.compile(r"cbr_[A-Za-z0-9_-]{43}")


def test_a_token_is_made_and_shown_once(practising: Bridge):
    at = open_page(PEOPLE)
    assert "No tokens yet" in shown(at)
    drawn(at.button(key="tokens_make").click().run())
    at.text_input(key="tokens_name").set_value("airflow")
    at.radio(key="tokens_role").set_value("analyst")
    at.pills(key="tokens_days").set_value("90 days")
    drawn(at.button(key="tokens_make_yes").click().run())

    (text,) = [block.value for block in at.code]
    assert TEXT.fullmatch(text)
    asker = tokens.find_asker(practising, text).actor
    assert asker
    assert (asker.name, asker.role.label) == ("token: airflow", "analyst")
    drawn(at.button(key="tokens_done").click().run())
    assert not at.code
    assert "frame_dialog" not in at.session_state
    for said in ("airflow", "Analyst", "Active", f"cbr_…{text[-4:]}", "local"):
        assert said in shown(at)
    assert len(tokens.list_tokens(practising, LOCAL)) == 1


def test_what_cannot_be_a_token_is_said_in_the_dialog_which_stays(practising: Bridge):
    tokens.make_token(practising, LOCAL, "airflow", "viewer")
    at = open_page(PEOPLE)
    drawn(at.button(key="tokens_make").click().run())
    at.text_input(key="tokens_name").set_value("Airflow")
    drawn(at.button(key="tokens_make_yes").click().run())

    assert "Name: a token has it already." in shown(at)
    at.text_input(key="tokens_name").set_value("dbt")
    drawn(at.button(key="tokens_make_yes").click().run())
    assert [TEXT.fullmatch(block.value) is not None for block in at.code] == [True]


@pytest.mark.parametrize("by_address", [False, True])
def test_a_token_is_not_shown_again_to_who_comes_back(practising: Bridge, by_address: bool):
    person = people.add_person(practising, LOCAL, "ann@example.com", "viewer")
    at = open_page(PEOPLE)
    drawn(at.button(key="tokens_make").click().run())
    at.text_input(key="tokens_name").set_value("airflow")
    drawn(at.button(key="tokens_make_yes").click().run())
    assert at.code

    if by_address:
        at.query_params["person"] = str(person.id)
        drawn(at.run())
        del at.query_params["person"]
    else:
        drawn(at.switch_page(AUDIT).run())
        at.switch_page(PEOPLE)

    assert not drawn(at.run()).code
    assert "airflow" in shown(at)


def test_a_token_is_revoked_by_its_row(practising: Bridge):
    made = tokens.make_token(practising, LOCAL, "**air** flow", "viewer")
    with write_session(practising.engine) as session:
        session.get_one(ApiToken, made.token.id).expires_at = practising.clock.now()
    at = open_page(PEOPLE)
    assert "Expired" in shown(at)

    at.session_state["frame_dialog"] = {"name": "tokens", "opened": {}, "state": {"token_id": made.token.id}}
    drawn(at.run())
    assert "**air** flow" in shown(at)
    drawn(at.button(key="tokens_revoke_yes").click().run())

    assert "is revoked" in shown(at)
    assert tokens.list_tokens(practising, LOCAL) == []
    assert "No tokens yet" in shown(at)
