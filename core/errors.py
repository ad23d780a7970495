"""What can go wrong, whether trying again can help, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from core.text import single_line

# Longer than any sentence of ours: what a name of other origin would make of it is cut.
_LONGEST = 1000
# Of so many cohorts it is said in a sentence why they are refused.
_NAMED = 3


class CohortBridgeError(Exception):
    """Any failure with a sentence for the person in front of it.

    `code` is stable and machine-readable, `advice` is the next step. `retryable` drives retries; `pauses` says that a
    recurring sync cannot continue until a person has fixed the cause. Never branch on the text. Neither holds secrets,
    answer bodies or user ids; what a name of other origin in them would steer or forge is replaced.
    """

    code: str = "failed"
    retryable: ClassVar[bool] = False
    pauses: ClassVar[bool] = False
    default_advice: ClassVar[str] = "Look at the run in History."

    def __init__(self, message: str, *, advice: str | None = None, code: str | None = None) -> None:
        self.message = single_line(message, most=_LONGEST)
        super().__init__(self.message)
        self.advice = single_line(advice or self.default_advice, most=_LONGEST)
        if code:
            self.code = code


class SettingsError(CohortBridgeError):
    """Something was entered or configured that cannot be used; the message names the field."""

    code = "bad_input"
    default_advice = "Correct it and try again."


class ChangedMeanwhile(SettingsError):
    """Somebody else has stored something since it was looked at; nothing was saved over that."""

    code = "changed_meanwhile"
    default_advice = "Look at it as it is now, then save again."


class BadNote(SettingsError):
    """What was written on why a held run is let through cannot be kept."""


class AddressNotAllowed(SettingsError):
    """An address that was entered leads to a place that nothing may be sent to."""

    code = "address_not_allowed"
    pauses = True
    default_advice = "Enter an address of the internet."


class NameInUse(CohortBridgeError):
    """A connection has the name already."""

    code = "name_in_use"


class PlaceInUse(CohortBridgeError):
    """Another destination leads to the same place."""

    code = "place_in_use"


class NotFound(CohortBridgeError):
    """What was asked for does not exist (any more)."""

    code = "not_found"
    default_advice = "Reload the page: it may have been removed."


class SyncGone(NotFound):
    """The sync was removed; its group and its history are still there."""


class NotConnected(CohortBridgeError):
    """A connection that the action needs is missing."""

    code = "not_connected"
    pauses = True
    default_advice = "Ask an admin to connect it on the Connections page, or use `python -m core connect`."


class NotAllowed(CohortBridgeError):
    """The person who acts does not have the role that the action needs."""

    code = "not_allowed"
    default_advice = "Ask an admin of Cohort Bridge for the role."


class SignInRefused(NotAllowed):
    """A person signed in who has no access: who they are was not proven, or they may not sign in."""

    code = "sign_in_refused"
    default_advice = "Ask an admin of Cohort Bridge to add you."


class SignedOut(NotAllowed):
    """A sign-in that counted before does not any more."""

    code = "signed_out"
    default_advice = "Reload the page and sign in again."


class TokenRefused(NotAllowed):
    """A token that does not count, or not any more."""

    code = "token_refused"
    default_advice = "Ask an admin of Cohort Bridge for a new one: People, Tokens for pipelines."


class RunAlreadyActive(CohortBridgeError):
    """Another run writes the same group at this moment."""

    code = "run_already_active"
    default_advice = "Wait for it to finish, or cancel it, then try again."


class IdShared(CohortBridgeError):
    """An id leads to so many others that they cannot be one person's."""

    code = "id_shared"
    default_advice = "Forget each profile alone: `python -m core forget ID --alone`."


class GroupTaken(CohortBridgeError):
    """One cohort has at most one group at a destination, and a group is fed by one cohort."""

    code = "group_taken"
    pauses = True
    default_advice = "Use the group's present name, or choose another name."


class ReceiverShared(CohortBridgeError):
    """Two destinations lead to one place, and the cohort has a group there through each."""

    code = "receiver_shared"
    pauses = True
    default_advice = (
        "Ask an admin to remove one of the two connections, or, if they are two workspaces, to say so on Connections; "
        "then resume."
    )


class BudgetTooSmall(CohortBridgeError):
    """The project's queries an hour do not allow one more sync at this interval."""

    code = "budget_too_small"


class CohortsRefused(CohortBridgeError):
    """Of several cohorts that were to be exported at once some cannot be, so none is; `causes` has why, by cohort."""

    code = "cohorts_refused"
    default_advice = "Leave them out, or settle what speaks against them."

    def __init__(self, causes: Mapping[int, str], *, of: int) -> None:
        named = " ".join(f"Cohort {cohort_id}: {cause}" for cohort_id, cause in [*causes.items()][:_NAMED])
        more = f" The same or another cause holds for {len(causes) - _NAMED} more." if len(causes) > _NAMED else ""
        super().__init__(f"{len(causes)} of {of} cohorts cannot be exported so: nothing was started. {named}{more}")
        self.causes = dict(causes)


class CohortNotExportable(CohortBridgeError):
    """The cohort exists, but its members are not users."""

    code = "cohort_not_exportable"
    pauses = True
    default_advice = "Choose a cohort of users: group-analytics cohorts hold companies or accounts, not people."


class CohortUnknown(CohortBridgeError):
    """The project has no such cohort. The group stays as it is."""

    code = "cohort_unknown"
    pauses = True
    default_advice = "Look for it on Cohorts, or with `python -m core cohorts`; the group stays as it is."


class IncompleteRead(CohortBridgeError):
    """The pages that arrived do not prove that all of the cohort was read; nothing was written."""

    code = "incomplete_read"
    default_advice = "Nothing was written and the group is as it was. Start the export again."


class RunHeld(CohortBridgeError):
    """The run would write what looks like a mistake; nothing was written."""

    code = "held"
    default_advice = "Look at the numbers before anything is written."


class RollbackUnsafe(CohortBridgeError):
    """A receiver that only adds may hold somebody who is not known: a rollback would leave them there."""

    code = "rollback_unsafe"
    default_advice = "Export the cohort and apply that once, which settles whom the group holds; then roll back again."


class HoldChanged(SettingsError):
    """A newer held run took the place of the one that a person looked at, and goes beyond it."""

    code = "hold_changed"
    default_advice = "Look at the new numbers, then apply it or discard it."


class RunCancelled(CohortBridgeError):
    """A person stopped the run, or this process was asked to end."""

    code = "cancelled"
    default_advice = "Start the export again when you are ready."


class RunTookTooLong(CohortBridgeError):
    """The run worked for longer than any run may. What it had begun to write is in doubt."""

    code = "took_too_long"
    default_advice = (
        "See the slow calls of the run in History, and check that Mixpanel and the destination answer; "
        "the next run overwrites the group in full if this one had begun to write."
    )


class OutOfMemory(CohortBridgeError):
    """The process was given no more memory. What it had begun to write is in doubt."""

    code = "out_of_memory"
    default_advice = "End other programs, or lower COHORT_BRIDGE_RUNS_IN_FLIGHT, then start it again."


class Unforeseen(CohortBridgeError):
    """An error that no one foresaw ended the work, and what it was is in the log alone."""

    code = "unexpected"
    default_advice = "Start it again; if that does not help, COHORT_BRIDGE_LOG_LEVEL=DEBUG shows more."


class LeaseLost(CohortBridgeError):
    """The run slept longer than its lease, and may have been taken over; it must not write any more."""

    code = "lease_lost"
    default_advice = "The next run writes the group in full. Check that the machine is not overloaded or suspended."


class NoQuerySlot(CohortBridgeError):
    """The project's queries for this hour are spent; `next_at` (aware UTC) is when the next one opens."""

    code = "no_query_slot"
    retryable = True
    default_advice = "Wait until then, or use --wait to let the export wait by itself."

    def __init__(self, message: str, *, next_at: datetime, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.next_at = next_at


class StorageFailed(CohortBridgeError):
    """The database or the snapshot folder could not be read or written."""

    code = "storage_failed"
    default_advice = "Check that the disk has space and that the folder of COHORT_BRIDGE_HOME can be written."


class SecretKeyLost(CohortBridgeError):
    """A stored secret cannot be decrypted with the available keys."""

    code = "secret_key_lost"
    pauses = True
    default_advice = "Restore the key in COHORT_BRIDGE_SECRET_KEY or secret.key, or enter the connections again."


class OfAnotherInstallation(CohortBridgeError):
    """This process has another secret key, or keeps members elsewhere, than its database's own processes."""

    code = "another_installation"


class NewerVersion(CohortBridgeError):
    """The database was brought up to date by a newer version while this process worked with it."""

    code = "newer_version"
    default_advice = "Start the new version here as well."


class VendorError(CohortBridgeError):
    """A vendor's answer, or none. `status` is the HTTP status where there was one."""

    code = "vendor_failed"

    def __init__(
        self,
        message: str,
        *,
        advice: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, advice=advice, code=code)
        self.status = status
        self.retry_after_s = retry_after_s


class VendorRefused(VendorError):
    """4xx: the same request will be refused again."""

    code = "vendor_refused"
    pauses = True


class GroupGone(VendorRefused):
    """404 to who was added or removed: the receiver does not know the group that this is about."""


class CohortRefused(VendorRefused):
    """400 or 404 to a question about a cohort: it may be the cohort that is gone, or a server in between."""

    code = "mixpanel_refused"


class PageSizeRefused(CohortRefused):
    """400 whose reason names the size of the pages: without one the same question may be answered."""


class VendorAuthFailed(VendorRefused):
    """401 or 403, or Mixpanel's 400 for bad credentials."""

    code = "vendor_unauthorized"


class VendorUnavailable(VendorError):
    """Network error, time-out, 429 or 5xx: it may work later."""

    code = "vendor_unavailable"
    retryable = True
    default_advice = "Nothing to correct: try again in a few minutes."


class VendorSurprise(VendorError):
    """A success status whose body is not what the vendor documents."""

    code = "vendor_surprise"
    retryable = True
    default_advice = "Try again; if it keeps happening, a proxy may stand between this machine and the vendor."


class RateLimited(VendorUnavailable):
    """429 with the vendor's reason: `kind` is `hour`, `concurrency` or `load`."""

    code = "rate_limited"

    def __init__(self, message: str, *, kind: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, status=429, retry_after_s=retry_after_s)
        self.kind = kind


class SessionLost(VendorError):
    """The query session that pages are read from is gone: start again at page 0."""

    code = "session_lost"
    default_advice = "Start the export again."
