"""A receiver that signs in by Basic and only adds, in a browser: it holds exactly the cohort, whatever happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import EXPORT_MS, Everything, go, press, wait_for_rest
from tests.stage.receivers import Receiver
from tests.stage.sandbox import EVERYONE, IMPORTED, Sandbox
from tests.stage.seeds import LONG

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def sandbox(everything: Everything) -> Iterator[Sandbox]:
    with closing(Sandbox(everything.sandbox)) as opened:
        yield opened


def connect(page: Page, everything: Everything, receiver: Receiver) -> None:
    """Connect a receiver as an admin does."""
    go(page, f"{everything.url}/connections", "Connections")
    press(page.get_by_text("Connect another receiver"))
    form = page.locator(".st-key-connections_receiver")
    form.get_by_role("textbox", name="Endpoint URL").fill(receiver.url)
    form.get_by_role("textbox", name="Endpoint URL").press("Tab")
    wait_for_rest(page)
    press(form.get_by_text("Only adds", exact=True))
    expect(form.get_by_text("Anyone whom somebody else has added stays")).to_be_visible()
    wait_for_rest(page)
    form.get_by_role("textbox", name="User name").fill(receiver.username)
    form.get_by_label("Password", exact=True).fill(receiver.secret)
    press(form.get_by_role("button", name="Connect receiver"))
    expect(page.get_by_text("receiver is connected.").first).to_be_visible()


def export(page: Page, everything: Everything, run: int, outcome: str) -> None:
    """Export the cohort to the receiver, and wait for how that ends."""
    go(page, f"{everything.url}/cohorts?cohort={IMPORTED}", "Cohorts")
    choice = page.get_by_role("combobox", name="Export to")
    if "receiver" not in (choice.input_value() or ""):
        press(choice)
        press(page.get_by_role("option", name="receiver"))
        wait_for_rest(page)
    press(page.get_by_role("button", name="Start sync"))
    expect(page.get_by_role("link", name=f"Run {run} in History")).to_be_visible(timeout=EXPORT_MS)
    expect(page.get_by_text(outcome)).to_be_visible(timeout=EXPORT_MS)


@LONG
def test_a_basic_receiver_that_only_adds_holds_exactly_the_cohort_after_leaves_and_a_delivery_that_was_cut_off(
    everything: Everything, sandbox: Sandbox, page: Page
):
    receiver = sandbox.receiver("only-adds")
    ids = [str(row["$distinct_id"]) for row in sandbox.raw(EVERYONE)]
    everyone = sorted(id for id in ids if re.fullmatch(r"[a-z]+-[0-9a-z-]+", id))
    assert len(everyone) > 4500

    def set_cohort(ids: list[str]) -> None:
        change = {"distinct_ids": ids}
        sandbox.put(f"/sandbox/api/cohorts/{IMPORTED}", json=change).raise_for_status()

    def held() -> set[str]:
        return set(receiver.members(IMPORTED) or ())

    connect(page, everything, receiver)
    set_cohort(everyone[:1500])
    export(page, everything, 1, "Every user with a usable id is in the group")
    assert held() == set(everyone[:1500])

    set_cohort(everyone[300:1600])
    export(page, everything, 2, "Every user with a usable id is in the group")
    assert held() == set(everyone[300:1600])

    set_cohort(everyone[2000:4500])
    receiver.fault("server_error", after=2)
    export(page, everything, 3, "The run failed")
    sandbox.clear_faults()
    assert set(everyone[300:1600]) != held() != set(everyone[2000:4500]), "cut off half way"

    set_cohort(everyone[1000:1100])
    export(page, everything, 4, "Every user with a usable id is in the group")
    assert held() == set(everyone[1000:1100])
    expect(page.get_by_text("whom they may have added, and who are not in the cohort, are removed")).to_be_visible()
