"""Of a list, what can be taken is taken and what cannot is counted: one odd entry takes no other away."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from core.errors import VendorSurprise
from core.vendors.mixpanel_answers import Account, Cohort
from core.vendors.mixpanel_lists import CohortListing, parse_account, parse_cohorts

PLAIN = {"id": 7, "name": "Payers", "count": 2, "is_visible": 1, "created": "2021-09-14 15:57:43", "description": "All"}
ME = "sync.ab12.mp-service-account"


def cohorts(*entries: object) -> CohortListing:
    return parse_cohorts(json.dumps(entries).encode())


def account(*entries: object) -> Account:
    return parse_account(json.dumps({"status": "ok", "results": entries}).encode(), ME)


def taken(**changes: Any) -> Cohort:
    """The odd cohort, which stands before a plain one that must be there all the same."""
    listing = cohorts(PLAIN | {"id": 901} | changes, PLAIN)
    assert listing.left_out == 0
    assert listing.cohorts[1].name == "Payers"
    return listing.cohorts[0]


# --- cohorts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [None, 7, "901", [], {}, {"name": "Payers"}])
def test_what_has_no_id_is_left_out_and_counted(odd: object):
    listing = cohorts(odd, PLAIN, odd)

    assert ([cohort.id for cohort in listing.cohorts], listing.left_out) == ([7], 2)


@pytest.mark.parametrize("id", [None, True, -1, 0, 2.5, "x", "", "-7", " 7", "9" * 5000, 2**63, 10**30, "٧", [7]])
def test_an_id_that_no_cohort_can_have_leaves_that_entry_out(id: object):
    listing = cohorts(PLAIN | {"id": id}, PLAIN)

    assert ([cohort.id for cohort in listing.cohorts], listing.left_out) == ([7], 1)


def test_an_id_that_is_listed_twice_is_taken_once():
    listing = cohorts(PLAIN, PLAIN | {"id": "7", "name": "Another"})

    assert ([cohort.name for cohort in listing.cohorts], listing.left_out) == (["Payers"], 1)


@pytest.mark.parametrize("id", ["901", 901.0, "0901"])
def test_an_id_as_a_text_is_that_id(id: object):
    assert taken(id=id).id == 901


@pytest.mark.parametrize(
    ("count", "expected"),
    [(3.0, 3), ("3", 3), (3, 3), (0, 0), (None, None), (-1, None), (2.5, None), ("many", None), (True, None)]
    + [(10**9, 10**9), (10**9 + 1, None), (10**30, None), ([3], None)],
)
def test_a_count_is_a_number_that_could_be_or_not_known(count: object, expected: int | None):
    assert taken(count=count).count == expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, True), (1, True), (True, True), (0, False), (False, False), ("0", False), ([], True)],
)
def test_a_cohort_is_visible_unless_it_is_said_to_be_hidden(visible: object, expected: bool):  # noqa: FBT001
    assert taken(is_visible=visible).is_visible is expected


@pytest.mark.parametrize(
    ("created", "expected"),
    [("2021-09-14 15:57:43", "2021-09-14 15:57:43"), (1700000000, "2023-11-14 22:13:20"), (None, ""), ([], "")]
    + [(10**30, ""), (-5, ""), (1700000000.5, "2023-11-14 22:13:20")],
)
def test_when_a_cohort_was_made_may_come_in_seconds(created: object, expected: str):
    assert taken(created=created).created == expected


@pytest.mark.parametrize("description", [[], None, 7, {"text": "All"}])
def test_a_description_that_is_no_text_is_none(description: object):
    assert taken(description=description).description == ""


@pytest.mark.parametrize("name", [None, [], {}, "", "  ", True])
def test_a_cohort_without_a_name_stays_in_the_list_and_says_what_it_lacks(name: object):
    assert (taken(name=name).odd_field, taken(name=name).name) == ("name", "Cohort 901")


@pytest.mark.parametrize("group", [[], {"id": 1}, True, False])
def test_a_cohort_of_whom_it_cannot_be_told_what_it_holds_says_so(group: object):
    assert taken(data_group_id=group).odd_field == "data_group_id"


def test_a_name_is_taken_as_it_is_but_for_what_nothing_can_hold():
    assert taken(name="Käufer\t😀").name == "Käufer\t😀"
    assert taken(name="half \ud800 and \x00").name == "half \ufffd and \ufffd"
    assert taken(name=2026).name == "2026"


@pytest.mark.parametrize("answer", [{}, {"status": "ok"}, {"results": []}, None, 7, "[]"])
def test_what_is_no_list_is_no_list_of_cohorts(answer: object):
    with pytest.raises(Exception, match="Mixpanel"):
        parse_cohorts(json.dumps(answer).encode())


# --- service accounts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [{"username": None}, {"username": 7, "role": []}, None, "x", {}, {"expires": {}}])
def test_another_account_that_is_odd_is_counted_and_takes_nothing_away(other: object):
    assert account(other, {"username": ME, "role": "admin"}) == Account("admin", None, left_out=1)


@pytest.mark.parametrize("role", ["admin", "Admin", " ADMIN ", {"name": "admin"}, {"id": 2, "name": "Admin"}])
def test_a_role_is_known_in_whatever_form_it_comes(role: object):
    assert account({"username": ME, "role": role}).refusal is None


def test_the_highest_of_the_listed_roles_counts_and_an_odd_one_beside_it_does_not():
    assert account(*({"username": ME, "role": role} for role in ("consumer", None, "Owner", "admin"))).role == "owner"


@pytest.mark.parametrize("role", [None, 7, [], {}, {"id": 2}, True, ""])
def test_a_role_of_its_own_that_cannot_be_read_says_nothing_of_the_account(role: object):
    with pytest.raises(VendorSurprise, match="“role”") as caught:
        account({"username": ME, "role": role})

    assert caught.value.retryable


def test_a_role_that_is_none_of_mixpanels_own_is_named():
    assert "the project role data team;" in (account({"username": ME, "role": "Data team"}).refusal or "")


def test_an_account_that_is_not_listed_may_be_one_of_those_that_cannot_be_read():
    assert "not a member" in (account({"username": "another", "role": "admin"}).refusal or "")
    with pytest.raises(VendorSurprise, match="“username”"):
        account({"username": "another", "role": "admin"}, {"username": None})


@pytest.mark.parametrize(
    "expires",
    ["Never", "", None, 0, -1, [], {}, True, "soon", 10**30, 1e300, "9999-12-31T23:59:59-12:00", "0001-01-01"],
)
def test_an_account_whose_end_cannot_be_read_has_none_that_is_known(expires: object):
    assert account({"username": ME, "role": "admin", "expires": expires}).expires_at is None


@pytest.mark.parametrize("other", ["2026-12-24T10:00:00", "2026-12-24T10:00:00Z", 1_766_570_400 + 31_536_000, "Never"])
def test_the_earliest_end_counts_with_and_without_a_time_zone(other: object):
    own = [{"username": ME, "role": "admin", "expires": expires} for expires in ("2026-12-01T10:00:00+02:00", other)]

    assert account(*own).expires_at == account(*reversed(own)).expires_at == datetime(2026, 12, 1, 8, tzinfo=UTC)
