"""Groups: what was delivered, and who is in."""

from __future__ import annotations

from core.bridge import Bridge
from tests.emulator.stage import POWER, REFUND, SPENDERS, Sandbox, export, group_row
from tests.pages.dashboard import GROUPS, drawn, open_page, shown


def test_groups_are_listed_as_apptimize_shows_them(practising: Bridge):
    export(practising, POWER)
    export(practising, SPENDERS)

    at = open_page(GROUPS)

    listed = list(at.dataframe[0].value["Group"])
    assert listed[0] == "Mixpanel: Power users"
    assert listed[1].startswith('Mixpanel: "Big <b>spenders</b>" &')
    drawn(at.text_input(key="groups_search").set_value("SPEND").run())
    assert len(at.dataframe[0].value) == 1


def test_members_are_paged_and_searched(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    members = sandbox.answer(POWER).ids

    at = open_page(GROUPS, group=group_row(practising, POWER).id)
    assert list(at.dataframe[0].value["Apptimize id"]) == members[:50]

    drawn(at.pagination(key="groups_members_page").set_value(2).run())
    assert list(at.dataframe[0].value["Apptimize id"]) == members[50:100]

    drawn(at.text_input(key="groups_members_search").set_value(members[-1]).run())
    assert list(at.dataframe[0].value["Apptimize id"]) == [members[-1]]

    drawn(at.text_input(key="groups_members_search").set_value("nobody%_").run())
    assert "No member matches the search." in shown(at)


def test_the_download_is_made_when_it_is_asked_for(practising: Bridge):
    export(practising, POWER)

    at = open_page(GROUPS, group=group_row(practising, POWER).id)

    download = at.download_button(key="groups_csv")
    assert download.proto.deferred_file_id
    drawn(download.click().run())


def test_doubt_is_explained(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    sandbox.fault("server_error", target="apptimize")
    export(practising, POWER, full=True)

    assert "In doubt" in shown(open_page(GROUPS))
    text = shown(open_page(GROUPS, group=group_row(practising, POWER).id))
    assert "What Apptimize holds is in doubt" in text
    assert "The next export writes the group in full" in text


def test_an_empty_group_says_why(practising: Bridge):
    export(practising, REFUND)

    assert "The group is empty" in shown(open_page(GROUPS, group=group_row(practising, REFUND).id))


def test_an_address_of_no_group_says_so(practising: Bridge):
    assert "There is no delivered group 99." in shown(open_page(GROUPS, group=99))
