"""What the three kinds of people come for, each as the walk that takes them there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.tour_home import BOTH, EXCLUDED, FIRST, HELD, MISSED, PREVIEWED, RECURRING, RUN, TOGETHER, USER, name_start
from bench.walker import Walker

if TYPE_CHECKING:
    from playwright.sync_api import Locator

_COHORTS = "Cohorts of the Mixpanel project"
_IS_COMPLETE = "Every user with a usable id is in the group"


@dataclass(frozen=True)
class Task:
    """Who wants what; the walk begins where `at` says, and ends once the answer is on the screen."""

    who: str
    what: str
    walk: Callable[[Walker], None]
    at: str = ""
    from_heading: str = "Overview"


def _export_first(walker: Walker) -> None:
    walker.go_to("Cohorts")
    walker.open_row(_COHORTS, name_start(FIRST))
    walker.press_button("Start sync")
    walker.see_text(_IS_COMPLETE)


def _preview_and_export(walker: Walker) -> None:
    walker.go_to("Cohorts")
    walker.open_row(_COHORTS, name_start(PREVIEWED))
    walker.press_button("Preview")
    walker.see_text("The preview is done")
    walker.press_button("Export these")
    walker.see_text(_IS_COMPLETE)


def _export_three(walker: Walker) -> None:
    walker.go_to("Cohorts")
    for cohort in TOGETHER:
        walker.tick_row(_COHORTS, name_start(cohort))
    walker.press_button("Export 3 cohorts")
    walker.press_button("Start 3 exports")
    walker.see_text("3 succeeded")


def _start_recurring(walker: Walker) -> None:
    walker.go_to("Cohorts")
    walker.open_row(_COHORTS, name_start(RECURRING))
    walker.press(walker.page.get_by_text("Recurring (dynamic)"))
    walker.see(walker.page.get_by_label("Shrink limit, in percent"))
    walker.press_button("Start sync")
    walker.see_text(_IS_COMPLETE)


def _find_why_in_no_group(walker: Walker) -> None:
    dialog = walker.open_search()
    walker.paste(EXCLUDED)
    walker.see(dialog.get_by_text("Why, and what to do"))


def _retry_failed(walker: Walker) -> None:
    # One of those that are not folded: which syncs failed last depends on when the home was filled.
    item = _attention_item(walker, "answered with an error of its own", "Run again")
    walker.see(item.get_by_text("answered with an error of its own"))
    walker.press(item.get_by_role("button", name="Run again"))
    walker.see_text("is queued")


def _attention_item(walker: Walker, text: str, button: str) -> Locator:
    """Find the last thing on Overview that needs attention with this text and button."""
    boxes = walker.page.get_by_test_id("stVerticalBlock").filter(has_not=walker.page.get_by_role("heading"))
    with_button = boxes.filter(has=walker.page.get_by_role("button", name=button))
    return with_button.filter(has=walker.page.get_by_text(text)).last


def _lead_to_connection(walker: Walker) -> None:
    walker.see_text("Why it is paused")
    walker.press(walker.page.get_by_role("link", name="Go to Connections"))
    walker.see(walker.page.get_by_role("heading", name="Connections", level=1))
    walker.see(walker.page.get_by_role("button", name="Replace token"))


def _let_held_through(walker: Walker) -> None:
    item = _attention_item(walker, name_start(HELD).strip(), "Apply once")
    walker.press(item.get_by_role("button", name="Apply once"))
    dialog = walker.page.get_by_role("dialog")
    walker.type("The sale has ended", dialog.get_by_role("textbox"))
    walker.press(dialog.get_by_role("button", name="Apply once"))
    walker.see_gone(dialog)
    walker.see_gone(item)


def _see_missed(walker: Walker) -> None:
    for sync in MISSED:
        walker.see_row("Freshness of recurring syncs, those that need attention first", name_start(sync))


def _see_both(walker: Walker) -> None:
    walker.go_to("Overlap")
    chosen = walker.page.get_by_role("combobox", name="Groups")
    walker.press(chosen)
    for group in BOTH:
        walker.type(name_start(group))
        walker.see(walker.page.get_by_role("option").filter(has_text=name_start(group)))
        walker.strike("Enter")
        walker.see(walker.page.get_by_test_id("stMultiSelect").get_by_text(name_start(group)))
    walker.strike("Escape")
    walker.see_text("1 pair of groups shares members")
    walker.press_last_cell("Shared members of each two groups", name_start(BOTH[0]))
    walker.see(walker.page.get_by_role("heading", level=2).filter(has_text="In both"))
    walker.see_list("Members")


def _see_who_joined(walker: Walker) -> None:
    _open_group(walker)
    walker.press(walker.page.get_by_role("radio", name="Joined and left"))
    walker.see_list("Who joined and left")


def _open_group(walker: Walker) -> None:
    walker.go_to("Groups")
    walker.type(name_start(BOTH[0]).strip(), walker.page.get_by_label("Search groups"))
    walker.see_text("groups of")
    walker.open_row("Delivered groups", name_start(BOTH[0]))


def _see_since_when(walker: Walker) -> None:
    _open_group(walker)
    walker.paste(USER, walker.page.get_by_label("Search members"))
    walker.see_text("1–1 of 1 member")
    walker.see_row("Members", USER)


def _open_run(walker: Walker) -> None:
    dialog = walker.open_search()
    walker.type(str(RUN))
    walker.press(dialog.get_by_role("button", name=f"Run {RUN}"))
    walker.see(walker.page.get_by_role("heading", level=2).filter(has_text=f"Run {RUN}: "))


TASKS = (
    Task("Analyst", "Export a cohort that has no group yet", _export_first),
    Task("Analyst", "Preview a cohort, then export what was previewed", _preview_and_export),
    Task("Analyst", "Export three cohorts with the same settings", _export_three),
    Task("Analyst", "Start a recurring sync with a shrink limit", _start_recurring),
    Task("Analyst", "Find out why a user is in no group, and what to do", _find_why_in_no_group),
    Task("Admin", "See which syncs missed their times since yesterday", _see_missed),
    Task("Admin", "Find out why a sync fails, and retry it", _retry_failed),
    Task(
        "Admin",
        "Get from a paused sync to the connection that caused it",
        _lead_to_connection,
        "syncs?sync=20",
        "Syncs",
    ),
    Task("Admin", "Let a held run through, with a note on why", _let_held_through),
    Task("Product manager", "See who is in two groups", _see_both),
    Task("Product manager", "See who joined a group in the last 7 days", _see_who_joined),
    Task("Product manager", "See since when a user is in a group", _see_since_when),
    Task("Product manager", "Open a run by its number", _open_run),
)
