"""A person who walks through the dashboard, and what it costs them: presses, keys, and how far they have to scroll."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.browsing import IS_DRAWN

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

_WITHIN_MS = 60_000
_MOST_TABS = 5
_REDRAWN_MS = 100
_LAST_CELL_PX = -40
# What floats above the top of the page, and a little air at both ends: a target is brought in that far.
_ABOVE_PX, _BELOW_PX = 64, 8
# Of what is higher, the upper end is enough to see that it is there.
_ENOUGH_PX = 160
# Scrolls whatever is around an element so far that a part of it can be seen, and no further.
_BRING = """(element, [top, bottom, above, below, enough]) => {
    for (let around = element.parentElement; around; around = around.parentElement) {
        if (around.scrollHeight <= around.clientHeight || !/auto|scroll/.test(getComputedStyle(around).overflowY))
            continue;
        const at = element.getBoundingClientRect(), box = around.getBoundingClientRect();
        const end = at.top + (bottom ?? Math.min(at.height, enough));
        const hidden = end + below - Math.min(box.bottom, innerHeight), missing = box.top + above - at.top - top;
        if (hidden > 0) around.scrollTop += hidden;
        else if (missing > 0) around.scrollTop -= missing;
    }
}"""
_PLACES = """element => {
    const places = [];
    for (let around = element.parentElement; around; around = around.parentElement) places.push(around.scrollTop);
    return places;
}"""


class Walker:
    """Does what a person does with mouse and keyboard, and counts it.

    A target that is out of the window is scrolled to first. What the page itself scrolls costs nobody anything.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0
        self.keys = 0
        self.scrolled_px = 0.0
        self._began_s = 0.0

    def begin(self, url: str, heading: str) -> None:
        """Open the page where a task begins, and look at it: from here on everything counts."""
        self.page.goto(url)
        self.page.wait_for_function(IS_DRAWN, arg=heading, timeout=_WITHIN_MS)
        self.page.wait_for_timeout(1000)
        self._began_s = time.perf_counter()

    @property
    def took_s(self) -> float:
        """The seconds since the beginning."""
        return time.perf_counter() - self._began_s

    def press(self, target: Locator) -> None:
        """Press what is there once nothing moves any more."""
        from tests.browser.stage import wait_for_rest

        target = target.first
        target.wait_for(timeout=_WITHIN_MS)
        wait_for_rest(self.page)
        self._bring(target, will_press=True)
        target.click()
        self.clicks += 1

    def press_button(self, name: str) -> None:
        """Press the button of this name."""
        self.press(self.page.get_by_role("button", name=name, exact=True))

    def go_to(self, name: str) -> None:
        """Choose a page in the menu, and wait until it is drawn."""
        # The name of a link's icon stands before its own.
        links = self.page.get_by_test_id("stSidebarNavLink")
        self.press(links.filter(has=self.page.get_by_text(name, exact=True)))
        self.page.wait_for_function(IS_DRAWN, arg=name, timeout=_WITHIN_MS)

    def open_row(self, table: str, text: str) -> None:
        """Press the name of a row of a list."""
        from tests.browser.stage import NAME_PX

        self._press_row(table, text, NAME_PX)

    def press_last_cell(self, table: str, text: str) -> None:
        """Press the last cell of a row of a list."""
        self._press_row(table, text, _LAST_CELL_PX)

    def tick_row(self, table: str, text: str) -> None:
        """Select a row of a list."""
        from tests.browser.stage import TICK_PX

        self._press_row(table, text, TICK_PX)

    def _press_row(self, table: str, text: str, x: float) -> None:
        """Press in a row, which is drawn on a canvas, so far from the left edge, or from the right one if below 0."""
        grid, y = self._find_row(table, text)
        box = grid.bounding_box()
        assert box
        self.page.mouse.click(box["x"] + x % box["width"], box["y"] + y)
        self.clicks += 1

    def see_row(self, table: str, text: str) -> None:
        """Look at a row of a list."""
        self._find_row(table, text)

    def see_list(self, table: str) -> None:
        """Wait until a list is there, and look at it."""
        region = self.page.get_by_role("region", name=table, exact=True)
        self.see(self.page.get_by_test_id("stDataFrame").filter(has=region))

    def _find_row(self, table: str, text: str) -> tuple[Locator, float]:
        """Bring a row into the window; returns its list, and how far below the top of that it is."""
        from tests.browser.stage import find_grid, find_row

        grid = find_grid(self.page, table)
        before, y = None, find_row(grid, text)
        # A list takes its rows some time after its text for screen readers does, or before.
        while y != before or not (box := grid.bounding_box()) or y > box["height"]:
            self.page.wait_for_timeout(_REDRAWN_MS)
            before, y = y, find_row(grid, text)
        self._bring(grid, part=(y - 17, y + 17))
        return grid, y

    def type(self, text: str, field: Locator | None = None) -> None:
        """Type into a field that is pressed first, or into the one that has the focus."""
        if field:
            self.press(field)
        self.page.keyboard.type(text)
        self.keys += len(text)

    def paste(self, text: str, field: Locator | None = None) -> None:
        """Paste an id, which nobody types: one press of keys."""
        if field:
            self.press(field)
        self.page.keyboard.insert_text(text)
        self.keys += 1

    def strike(self, key: str) -> None:
        """Press a key, or some together."""
        self.page.keyboard.press(key)
        self.keys += 1

    def open_search(self) -> Locator:
        """Open the search on every page by its keys, and give its dialog with the field focused."""
        self.strike("Control+k")
        dialog = self.page.get_by_role("dialog", name="Search")
        field = dialog.get_by_role("searchbox")
        field.wait_for()
        for _ in range(_MOST_TABS):
            if field.evaluate("field => field === document.activeElement"):
                return dialog
            self.strike("Tab")
        raise AssertionError("Tab does not lead to the search")

    def see(self, target: Locator) -> None:
        """Wait until something is there, and look at it."""
        target = target.first
        target.wait_for(timeout=_WITHIN_MS)
        self._bring(target)

    def see_text(self, text: str) -> None:
        """Wait until a text is there, and look at it."""
        self.see(self.page.get_by_test_id("stMain").get_by_text(text))

    def see_gone(self, target: Locator) -> None:
        """Wait until something is not there any more."""
        target.first.wait_for(state="hidden", timeout=_WITHIN_MS)

    def _bring(self, target: Locator, *, part: tuple[float, float] | None = None, will_press: bool = False) -> None:
        before: list[float] = target.evaluate(_PLACES)
        target.evaluate(_BRING, [*(part or (0, None)), _ABOVE_PX, _BELOW_PX, _ENOUGH_PX])
        if will_press:
            target.click(trial=True)  # scrolls on where something lies above it
        after: list[float] = target.evaluate(_PLACES)
        self.scrolled_px += sum(abs(new - old) for new, old in zip(after, before, strict=False))
