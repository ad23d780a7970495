"""The dashboard as a test drives it: pages opened through the menu, and all that they show, as text."""

from __future__ import annotations

import time
from typing import Any

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Element

from core.access import people
from core.access.roles import LOCAL, Role
from core.bridge import Bridge
from pages.parts import folded
from tests.stage.processes import ROOT

OVERVIEW = "pages/export/overview.py"
COHORTS = "pages/export/cohorts.py"
GROUPS = "pages/observe/groups.py"
HISTORY = "pages/observe/history.py"
MATCHING = "pages/observe/matching.py"
OVERLAP = "pages/observe/overlap.py"
USERS = "pages/observe/users.py"
CONNECTIONS = "pages/admin/connections.py"
PRACTICE = "pages/admin/practice.py"
SYNCS = "pages/export/syncs.py"
PEOPLE = "pages/admin/people.py"
ALERTS = "pages/admin/alerts.py"
AUDIT = "pages/admin/audit.py"
PAGES = (
    OVERVIEW,
    COHORTS,
    SYNCS,
    GROUPS,
    OVERLAP,
    USERS,
    HISTORY,
    MATCHING,
    CONNECTIONS,
    PRACTICE,
    PEOPLE,
    AUDIT,
    ALERTS,
)


def claims(email: str = "ann@example.com", **more: Any) -> dict[str, Any]:
    """What a provider says of a person who signed in just now."""
    said = {
        "iss": "https://id.example",
        "sub": str(email),
        "iat": int(time.time()),
        "email": email,
        "email_verified": True,
    }
    return {"is_logged_in": True, "name": "Ann", **said, **more}


def sign_in_as(bridge: Bridge, role: Role) -> dict[str, Any]:
    """Add a person with that role, and return what a provider says of their sign-in."""
    people.add_person(bridge, LOCAL, "vera@example.com", role.label)
    return claims("vera@example.com", name="Vera")


def open_page(page: str, /, *, user: dict[str, Any] | None = None, **params: object) -> AppTest:
    """Open a page as a deep link does: through `app.py`, with these query parameters, signed in as `user`.

    It is that of a person who has opened every box on it before.
    """
    at = open_folded(page, user=user, **params)
    at.session_state[folded.OPENED] = Everything()
    return first_drawn(at)


class Everything(dict[str, bool]):
    """The keys of all boxes that there are."""

    def __contains__(self, key: object) -> bool:
        return True


def open_folded(page: str, /, *, user: dict[str, Any] | None = None, **params: object) -> AppTest:
    """Return a page of which no box was opened, not drawn yet."""
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
    if user:
        at.user = user
    if page != OVERVIEW:
        at.switch_page(page)
    for name, value in params.items():
        at.query_params[name] = value if isinstance(value, list) else str(value)
    return at


def first_drawn(at: AppTest) -> AppTest:
    """Draw a page for the first time; as a browser does, stay on the one that this leads to."""
    at.run()
    at._page_hash = ""
    return drawn(at)


def drawn(at: AppTest) -> AppTest:
    """Make sure that the page is drawn without a failure."""
    assert not at.exception, [element.value for element in at.exception]
    return at


def page_buttons(at: AppTest) -> list[str | None]:
    """Return the keys of all buttons, in the order of the page, but for those of every page: to search, to sign out."""
    return [button.key for button in at.button if button.label != "Search" and not button.label.startswith("Sign out")]


def shown(at: AppTest) -> str:
    """All texts of the page, tables included, Markdown's escapes taken out."""
    # Dialogs hang beside the main block, not in it.
    texts = [_text(node) for node in at._tree if isinstance(node, Element)]
    return "\n".join(texts).replace("\\", "").replace("\u2060", "")


def _text(node: Element) -> str:
    if node.type in ("dataframe", "arrow_data_frame", "table", "arrow_table"):
        return node.value.to_csv(index=False)  # type: ignore[attr-defined]
    proto: Any = node.proto
    return "\n".join(
        str(value)
        for name in ("title", "label", "body", "text", "value", "caption", "help", "url")
        if isinstance(value := getattr(proto, name, None), str) and value
    )


def flow_figures(at: AppTest) -> dict[str, int]:
    """Return the numbers of the drawing from cohort to group, by what they count, as its table has them."""
    table = next(table.value for table in at.table if "What it counts" in table.value)
    return {
        step: int(users.replace(",", ""))
        for step, users in zip(table["Step"], table["Users"], strict=True)
        if users != "not known"
    }
