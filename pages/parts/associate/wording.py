"""How associations by hand are put into words: their states, what writing changes, and what is chosen."""

from __future__ import annotations

from core.associate import actions
from data.models import CHANGED, NEW, SAME, UNSEEN, ImportStage
from pages.parts.run_status import Badge

BADGES: dict[str, Badge] = {
    ImportStage.TO_CHECK: Badge("Waiting to be checked", "schedule", "gray"),
    ImportStage.CHECKING: Badge("Checking", "sync", "blue"),
    ImportStage.CHECKED: Badge("Checked, not written", "rule", "orange"),
    ImportStage.TO_WRITE: Badge("Waiting to be written", "schedule", "gray"),
    ImportStage.WRITING: Badge("Writing", "sync", "blue"),
    ImportStage.DONE: Badge("Done", "check_circle", "green"),
    ImportStage.FAILED: Badge("Failed", "error", "red"),
    ImportStage.CANCELLED: Badge("Cancelled", "cancel", "gray"),
}
EFFECTS = {
    NEW: "Users who had no usable Apptimize id when their cohort was last read",
    CHANGED: "Users who had another Apptimize id: it is replaced",
    SAME: "Users who have this id already: nothing changes",
    UNSEEN: "Users who were in no cohort that was read here: a profile is made for those who have none",
    "taken": "Of these rows: another user has the id too, so one of the two counts as a duplicate",
}
EFFECT_WORDS = {NEW: "Gets an id", CHANGED: "Id is replaced", SAME: "No change", UNSEEN: "In no cohort yet"}
PREFIXES: dict[str | None, str] = {
    None: "Do not write these rows",
    "i_": "Put i_ before them: identified users",
    "a_": "Put a_ before them: anonymous users",
    actions.AS_THEY_ARE: "Write them as they are",
}
NO_ALIAS = (
    "This project uses Simplified ID merge, so no alias event is sent: such a project refuses them. Events that "
    "Apptimize sends are attributed to a user only where its id is the user's `$user_id`."
)
ALIAS = (
    "Each Apptimize id also becomes an alias of its distinct id, so that events that Apptimize sends belong to the "
    "right user. An alias that belonged to another user before stays with that user; Mixpanel does not report it."
)
