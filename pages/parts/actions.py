"""A click's action: done, and answered in a sentence where the click was; and what fails while a page is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import streamlit as st

from core.alerts.channels import AlertChannel
from core.errors import CohortBridgeError
from data.models import Connection, Person, Run, Sync
from pages.parts.formatting import error_text
from pages.shell import page_frame, resources

_OF_CHANNELS = ("name", "shown", "all_syncs", "sync_ids", "tags", "warnings")
Result = TypeVar("Result")

# What answers say of connections, and nothing secret: of that the ending is enough to see that it is another one.
_OF_CONNECTIONS = (
    "name", "url", "folder", "project_id", "username", "secret_end", "match_property",
    "sign_in", "sign_in_name", "member_id", "member_property", "member_key", "adds_only",
)  # fmt: skip


def perform(
    place: str,
    action: Callable[[], Result],
    answer: str | Callable[[Result], str] | None = None,
    *,
    toast: str = "",
    failure: str = "",
    fields: Mapping[str, str] | None = None,
    failed_at: str = "",
) -> Result | None:
    """Perform an action and keep its answer, to be shown at `place`: `answer`, or the error with its advice.

    `answer` may be made from the action's result; None drops the answer before. `toast` is shown for a moment only, and
    `failure` before the error. An error that names one of the `fields`, or whose code is one of them, is shown at the
    place that those give for it, any other one at `failed_at` if that is another place.
    Returns the result, None on failure.
    """
    try:
        result = action()
    except CohortBridgeError as exc:
        places = fields or {}
        at = places.get(exc.message.partition(":")[0], places.get(exc.code, failed_at or place))
        page_frame.answer(at, f"{failure} {error_text(exc)}".strip(), failed=True)
        return None
    resources.forget_attention()
    if answer is None:
        page_frame.forget_answer()
    else:
        page_frame.answer(place, answer if isinstance(answer, str) else answer(result), about=subject(result))
    if toast:
        page_frame.toast(toast, ":material/check:")
    return result


def subject(result: object) -> dict[str, Any] | None:
    """Return what an answer speaks of, and how that is now: plain data, equal as long as the answer holds."""
    state: list[object]
    match result:
        case Run():
            state = [result.status]
        case Sync():
            state = [result.state, result.next_run_at and result.next_run_at.isoformat()]
        case Connection():
            state = [result.removed, *(getattr(result, name) for name in _OF_CONNECTIONS)]
        case AlertChannel():
            state = [result.enabled, result.trouble, *(getattr(result, name) for name in _OF_CHANNELS)]
        case Person():
            state = [result.role, result.disabled]
        case _:
            return None
    return {"kind": type(result).__name__, "id": result.id, "state": [str(each) for each in state]}


@contextmanager
def show_errors() -> Iterator[None]:
    """Show the error that ends this part of a page, with its advice; what comes after it is drawn all the same."""
    try:
        yield
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")


def confirm_buttons(
    label: str,
    *,
    key: str,
    icon: str,
    action: Callable[[], Any],
    cancel: str = "Cancel",
    stays_after_failure: bool = False,
    is_at_right: bool = False,
) -> None:
    """Show the two buttons of a `page_frame.dialog`: one does what it describes, and either closes it.

    Where something is entered it `stays_after_failure`, of which the action returns None as `perform` does: what is
    wrong stands beside what was entered. They are `is_at_right` where something opens above the left side.
    """
    act = _save_and_close if stays_after_failure else _act_and_close
    with st.container(horizontal=True, horizontal_alignment="right" if is_at_right else "left"):
        st.button(label, key=f"{key}_yes", type="primary", icon=icon, on_click=act, args=(action,))
        st.button(cancel, key=f"{key}_no", on_click=page_frame.close_dialog)


def _act_and_close(action: Callable[[], Any]) -> None:
    if page_frame.is_dialog_open():  # pressed twice, it is done once
        action()
        page_frame.close_dialog()


def save_buttons(label: str, *, key: str, save: Callable[[], object | None], in_form: bool = False) -> None:
    """Show the two buttons of a `page_frame.dialog` in which something is entered: one saves it, either closes it.

    `save` returns None where it failed, as `perform` does: then the dialog stays, and shows why. With `in_form` the
    fields are in a form.
    """
    button = st.form_submit_button if in_form else st.button
    with st.container(horizontal=True):
        button(label, key=key, type="primary", on_click=_save_and_close, args=(save,))
        button("Cancel", key=f"{key}_no", on_click=page_frame.close_dialog)


def _save_and_close(save: Callable[[], object | None]) -> None:
    if page_frame.is_dialog_open() and save() is not None:  # pressed twice, it is saved once
        page_frame.close_dialog()
