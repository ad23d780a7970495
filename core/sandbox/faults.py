"""Simulated failures, switched on from the page or from a test."""

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

from core.sandbox.store import Store

TARGETS = ("mixpanel", "app", "ingestion", "apptimize", "receivers")
BOTH = ("mixpanel", "apptimize")
WITH_RECEIVERS = (*BOTH, "receivers")


@dataclass(frozen=True)
class Fault:
    """A failure to simulate; `when` narrows it to first pages (no session), session pages, engage pages, or lists.

    `sized` are engage pages with a `page_size`.
    """

    label: str
    about: str
    targets: tuple[str, ...] = WITH_RECEIVERS
    when: str = "any"
    defaults: tuple[tuple[str, float], ...] = ()


KNOWN: dict[str, Fault] = {
    "rate_limit_hour": Fault("Hourly limit", "429: the 60 queries of the hour are spent", ("mixpanel",), "counted"),
    "rate_limit_concurrency": Fault("Concurrency limit", "429: five queries are running", ("mixpanel",), "counted"),
    "load_shedding": Fault("Load shedding", "429 without any rate-limit header; no work done"),
    "server_error": Fault("Server error", "500, no work done", (*WITH_RECEIVERS, "app", "ingestion")),
    "unauthorized": Fault("Unauthorized", "401, whatever the credentials", (*WITH_RECEIVERS, "app")),
    "cut_off_json": Fault("Cut-off JSON", "Work done; status and headers are fine, half of the JSON is missing"),
    "cut_off_body": Fault("Connection lost in the answer", "Work done; the connection ends half way through the body"),
    "html_200": Fault("HTML instead", "No work done; a sign-in page with status 200, as a hotel's Wi-Fi gives"),
    "bad_request": Fault("Bad request", "400, no work done; the text gives no reason", ("mixpanel",), "page"),
    "query_failed": Fault("Failed query with 200", "Status 200, no one in it, and a body that says why", ("mixpanel",)),
    "list_odd": Fault("Odd entries", "Lists also hold what is not as documented", ("mixpanel", "app"), "list"),
    "slow": Fault("Slow", "The answer takes some seconds", (*WITH_RECEIVERS, "app", "ingestion"),
                  defaults=(("seconds", 2),)),
    "reset_before": Fault("Reset before", "Connection reset, no work done", (*WITH_RECEIVERS, "app", "ingestion")),
    "reset_after": Fault("Reset after", "Work done, then connection reset", (*WITH_RECEIVERS, "ingestion")),
    "page_repeated": Fault("Page repeated", "A page holds the results of the page before it", ("mixpanel",), "session"),
    "page_ignored": Fault("Page ignored", "Every page is the first, as from a cache", ("mixpanel",), "session"),
    "page_rows_missing": Fault("Rows missing", "A page lacks some of its rows", ("mixpanel",), "page", (("rows", 7),)),
    "page_past_end": Fault("Page past the end", "A page past the end is the last one again", ("mixpanel",), "session"),
    "page_past_end_refused": Fault("Page past the end refused", "400: no such page", ("mixpanel",), "session"),
    "page_size_ignored": Fault("Page size ignored", "Pages are those that come without asking", ("mixpanel",), "sized"),
    "page_size_capped": Fault("Page size capped", "Smaller pages, which say so", ("mixpanel",), "sized",
                              (("rows", 90),)),
    "page_size_unsaid": Fault("Page size not kept", "Smaller pages, which say that they are as large as asked",
                              ("mixpanel",), "sized", (("rows", 90),)),
    "page_size_changed": Fault("Page size changed", "Pages after the first say another size", ("mixpanel",), "sized",
                               (("rows", 90),)),
    "page_size_held_back": Fault("Rows held back", "Smaller pages, which say that they are as large as asked; the "
                                 "first page's total is its own rows", ("mixpanel",), "sized", (("rows", 90),)),
    "page_size_cut": Fault("Pages cut", "The rest of every page is lost, and the total counts what is left",
                           ("mixpanel",), "sized", (("rows", 90),)),
    "page_size_cut_smaller": Fault("Pages cut, and said to be smaller", "The same, and the pages say the size that is "
                                   "left", ("mixpanel",), "sized", (("rows", 90),)),
    "page_size_as_limit": Fault("Page size as a limit", "No more profiles in all than one page was asked to hold; the "
                                "total counts those", ("mixpanel",), "sized"),
    "page_size_refused": Fault("Page size refused", "400 that names it", ("mixpanel",), "sized"),
    "page_size_bad_request": Fault("Page size not understood", "400 without a reason", ("mixpanel",), "sized"),
    "page_size_forbidden": Fault("Page size filtered", "403 for pages of a size, as from a proxy", ("mixpanel",),
                                 "sized"),
    "page_size_failure": Fault("Page size too much", "500 for pages of a size", ("mixpanel",), "sized"),
    "page_size_shed": Fault("Page size shed", "429 without any rate-limit header for pages of a size", ("mixpanel",),
                            "sized"),
    "total_wrong": Fault("Total wrong", "The first page's total is off", ("mixpanel",), "first", (("by", 3),)),
    "session_forgotten": Fault("Session forgotten", "400: the session's query is gone", ("mixpanel",), "session"),
    "records_refused": Fault("Records refused", "The first records of a batch are refused", ("ingestion",),
                             defaults=(("rows", 1),)),
    "failure_200": Fault("Failure with 200: Mixpanel", "Status 200, a body that says that it failed",
                         ("app", "ingestion")),
    "apptimize_failure_200": Fault("Failure with 200: Apptimize", "Status 200, a body that says failure",
                                   ("apptimize",)),
    "receiver_failure_200": Fault("Failure with success: receivers", "A success's status, a body that says failure",
                                  ("receivers",)),
    "cohort_in_deletion": Fault("Cohort being deleted", "404 to every message: the receiver's group is being deleted",
                                ("receivers",)),
}  # fmt: skip
OPTIONS = {
    "times": int,
    "after": int,
    "page": int,
    "rows": int,
    "by": int,
    "seconds": float,
    "target": str,
    "path": str,
}


class Faults:
    """The faults that are on, with how often each has struck; kept over a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._on: dict[str, dict[str, Any]] = store.get("faults", {})
        self.stopping = asyncio.Event()

    async def pause(self, seconds: float) -> bool:
        """Wait; return False at once when the server stops meanwhile."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return True
        return False

    def listed(self) -> dict[str, dict[str, Any]]:
        """Return what was switched on: options, `seen` matching requests, `struck` ones, and whether it is `active`."""
        with self._lock:
            return {name: {**fault, "active": _has_some_left(fault)} for name, fault in self._on.items()}

    def switch(self, name: str, options: dict[str, Any] | None) -> None:
        """Switch a fault on, counted from zero, or off with None. Raises ValueError for an unknown name or option."""
        if name not in KNOWN:
            raise ValueError(f"There is no fault {name!r}; there are {', '.join(KNOWN)}.")
        with self._lock:
            self._on.pop(name, None)
            if options is not None:
                self._on[name] = {**dict(KNOWN[name].defaults), **_checked(options), "seen": 0, "struck": 0}
            self._store.put("faults", self._on)

    def clear(self) -> None:
        with self._lock:
            self._on.clear()
            self._store.put("faults", {})

    def take(self, target: str, method: str, path: str, note: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the faults that strike this request, and count them."""
        with self._lock:
            if not self._on:
                return {}
            struck: dict[str, dict[str, Any]] = {}
            for name, fault in self._on.items():
                if not _matches(name, fault, target, method, path, note):
                    continue
                fault["seen"] += 1
                if fault["seen"] > fault.get("after", 0) and _has_some_left(fault):
                    fault["struck"] += 1
                    struck[name] = dict(fault)
            self._store.put("faults", self._on)
            return struck


def _has_some_left(fault: dict[str, Any]) -> bool:
    return "times" not in fault or fault["struck"] < fault["times"]


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise ValueError(f"A fault has no option {name!r}; there are {', '.join(OPTIONS)}.")
        if value is None or value == "":
            continue
        try:
            checked[name] = OPTIONS[name](value)
        except (TypeError, ValueError):
            raise ValueError(f"{name} cannot be {value!r}.") from None
        if OPTIONS[name] in (int, float) and name != "by" and not 0 <= checked[name] <= 1_000_000:
            raise ValueError(f"{name} must be 0 or more.")
    if checked.get("target") not in (None, *TARGETS):
        raise ValueError(f"There is no target {checked['target']!r}; there are {', '.join(TARGETS)}.")
    return checked


def _matches(name: str, fault: dict[str, Any], target: str, method: str, path: str, note: dict[str, Any]) -> bool:
    known = KNOWN[name]
    named = fault.get("target")
    # Faults strike queries and messages to Apptimize; the other APIs and receivers only when they are named, or when
    # there is nobody else whom the fault could strike.
    if target not in known.targets or (target != named if named else target not in BOTH and known.targets != (target,)):
        return False
    if target == "apptimize" and method != "POST":
        return False
    if fault.get("path", "") not in path or ("page" in fault and fault["page"] != note.get("page")):
        return False
    page, session = note.get("page"), note.get("session_id")
    return {
        "any": True,
        "counted": not session,
        "first": page == 0,
        "page": page is not None,
        "list": page is None,
        "session": bool(page) and bool(session),
        "sized": page is not None and "page_size" in note.get("arguments", {}),
    }[known.when]
