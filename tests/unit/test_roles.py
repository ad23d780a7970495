"""Every action against every role. An action that is not in the table fails: what it needs has to be decided."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import func, select

from core.access import audit_log, people, roles, saved_filters, sign_in, tokens
from core.access.roles import Actor, Role
from core.alerts import attention, channels
from core.alerts import listing as told
from core.alerts.channels import ChannelForm
from core.associate import actions
from core.backup import backing_up
from core.bridge import Bridge
from core.connections import adopting, destinations, entering, key_rotation, lookup, mixpanel_connection, removal, trial
from core.connections.receiver_form import ReceiverForm
from core.declared import applying, exporting
from core.errors import CohortBridgeError, NotAllowed
from core.forgetting import person
from core.leases import workers
from core.reports import (
    absence,
    clocks,
    comparison,
    export_forecast,
    group_state,
    joined_left,
    match_funnel,
    member_check,
    members,
    members_since,
    open_names,
    overlap,
    overview,
    run_history,
    search,
    slots,
    storage,
    user_lookup,
)
from core.reports.overview import AttentionItems
from core.syncs import (
    cohorts,
    groups,
    held_runs,
    listing,
    one_time,
    previews,
    recurring,
    run_again,
    runs,
    settings,
    several,
    undo,
)
from core.syncs.several import ExportSettings
from data.alert_models import AlertChannel
from data.engine import read_session, write_session
from data.models import (
    Association,
    AuditEntry,
    Connection,
    Group,
    Person,
    Run,
    RunFilter,
    RunStatus,
    Sync,
    SyncKind,
    SyncState,
)
from data.outbox_models import AlertSetting
from data.saved_filter_models import SavedFilter
from data.sign_in_models import SignIn
from data.token_models import ApiToken
from tests.stage.modules import import_core

WORKED = "It changes something"
READS = "It changes nothing"
ELSEWHERE = "It needs what is not on this stage, and may fail for that; its own tests have it"


@dataclass(frozen=True)
class Stage:
    """Rows that actions can act on."""

    bridge: Bridge
    queued: int
    held: int
    active: int
    paused: int
    other_person: int
    token: int
    folder: Path


Call = Callable[[Stage, Actor], object]
NO_CHANNEL = ChannelForm("new", SecretStr("https://1.1.1.1/alerts"))
NO_RECEIVER = ReceiverForm(SecretStr("no address"), secret=SecretStr("x"))
TABLE: dict[str, tuple[Role, str, Call]] = {
    # What everyone may look at.
    "active_runs": (Role.VIEWER, READS, lambda on, who: runs.active_runs(on.bridge, who)),
    "cohorts_read_at": (Role.VIEWER, READS, lambda on, who: cohorts.cohorts_read_at(on.bridge, who)),
    "count_cohorts_left_out": (Role.VIEWER, READS, lambda on, who: cohorts.count_cohorts_left_out(on.bridge, who)),
    "count_runs": (Role.VIEWER, READS, lambda on, who: runs.count_runs(on.bridge, who)),
    "find_applied": (
        Role.VIEWER,
        READS,
        lambda on, who: held_runs.find_applied(on.bridge, who, runs.get_run(on.bridge, who, on.queued)),
    ),
    "find_open_name": (Role.VIEWER, READS, lambda on, who: open_names.find_open_name(on.bridge, who, "run", on.queued)),
    "find_group": (Role.VIEWER, ELSEWHERE, lambda on, who: groups.find_group(on.bridge, who, 7)),
    "list_missing": (
        Role.VIEWER,
        READS,
        lambda on, who: several.list_missing(on.bridge, who, [on.queued], [on.active]),
    ),
    "get_exports": (Role.VIEWER, READS, lambda on, who: several.get_exports(on.bridge, who, [on.queued], [on.active])),
    "get_run": (Role.VIEWER, READS, lambda on, who: runs.get_run(on.bridge, who, on.queued)),
    "get_sync": (Role.VIEWER, READS, lambda on, who: listing.get_sync(on.bridge, who, on.active)),
    "group_csv": (Role.VIEWER, ELSEWHERE, lambda on, who: groups.group_csv(on.bridge, who, 1)),
    "list_connections": (Role.VIEWER, READS, lambda on, who: lookup.list_connections(on.bridge, who)),
    "list_groups": (Role.VIEWER, READS, lambda on, who: groups.list_groups(on.bridge, who)),
    "list_of_cohort": (
        Role.VIEWER,
        READS,
        lambda on, who: groups.list_of_cohort(on.bridge, who, 1, project_id=1),
    ),
    "list_delivered": (
        Role.VIEWER,
        READS,
        lambda on, who: groups.list_delivered(on.bridge, who, after=0, limit=1),
    ),
    "check_member": (Role.VIEWER, ELSEWHERE, lambda on, who: member_check.check_member(on.bridge, who, 1, "i_1")),
    "list_runs": (Role.VIEWER, READS, lambda on, who: runs.list_runs(on.bridge, who)),
    "newest_of_cohort": (Role.VIEWER, READS, lambda on, who: runs.newest_of_cohort(on.bridge, who, 7)),
    "list_syncs": (Role.VIEWER, READS, lambda on, who: listing.list_syncs(on.bridge, who)),
    "list_placed": (Role.VIEWER, READS, lambda on, who: listing.list_placed(on.bridge, who)),
    "get_query_budget": (Role.VIEWER, READS, lambda on, who: cohorts.get_query_budget(on.bridge, who)),
    "save_group_csv": (
        Role.VIEWER,
        ELSEWHERE,
        lambda on, who: groups.save_group_csv(on.bridge, who, 1, on.folder / "x"),
    ),
    "worker_is_up": (Role.VIEWER, READS, lambda on, who: workers.worker_is_up(on.bridge, who)),
    "list_clocks_off": (Role.VIEWER, READS, lambda on, who: clocks.list_clocks_off(on.bridge, who)),
    "find_storage_trouble": (Role.VIEWER, READS, lambda on, who: storage.find_storage_trouble(on.bridge, who)),
    "worker_seen_at": (Role.VIEWER, READS, lambda on, who: workers.worker_seen_at(on.bridge, who)),
    "workers_up": (Role.VIEWER, READS, lambda on, who: workers.workers_up(on.bridge, who)),
    "list_health": (Role.VIEWER, READS, lambda on, who: overview.list_health(on.bridge, who, [])),
    "get_health_and_attention": (
        Role.VIEWER,
        READS,
        lambda on, who: overview.get_health_and_attention(on.bridge, who, [], []),
    ),
    "are_changes_kept": (
        Role.VIEWER,
        READS,
        lambda on, who: members.are_changes_kept(on.bridge, who, runs.get_run(on.bridge, who, on.queued)),
    ),
    "are_members_kept": (
        Role.VIEWER,
        READS,
        lambda on, who: members.are_members_kept(on.bridge, who, runs.get_run(on.bridge, who, on.queued)),
    ),
    "changes_csv": (Role.VIEWER, ELSEWHERE, lambda on, who: members.changes_csv(on.bridge, who, on.queued)),
    "compare_runs": (
        Role.VIEWER,
        ELSEWHERE,
        lambda on, who: comparison.compare_runs(on.bridge, who, on.queued, on.held),
    ),
    "compared_csv": (
        Role.VIEWER,
        ELSEWHERE,
        lambda on, who: comparison.compared_csv(on.bridge, who, on.queued, on.held),
    ),
    "find_changes": (Role.VIEWER, ELSEWHERE, lambda on, who: members.find_changes(on.bridge, who, on.queued, "added")),
    "find_compared": (
        Role.VIEWER,
        ELSEWHERE,
        lambda on, who: comparison.find_compared(on.bridge, who, on.queued, on.held, "added"),
    ),
    "find_unchanged": (Role.VIEWER, ELSEWHERE, lambda on, who: members.find_unchanged(on.bridge, who, on.queued)),
    "unchanged_csv": (Role.VIEWER, ELSEWHERE, lambda on, who: members.unchanged_csv(on.bridge, who, on.queued)),
    "list_joined_and_left": (
        Role.VIEWER,
        READS,
        lambda on, who: joined_left.list_joined_and_left(on.bridge, who, 1, joined_left.Period()),
    ),
    "joined_and_left_csv": (
        Role.VIEWER,
        READS,
        lambda on, who: joined_left.joined_and_left_csv(on.bridge, who, 1, joined_left.Period()),
    ),
    "list_since": (Role.VIEWER, READS, lambda on, who: members_since.list_since(on.bridge, who, 1, ["i_1"])),
    "compare_groups": (Role.VIEWER, READS, lambda on, who: overlap.compare_groups(on.bridge, who, [])),
    "find_shared": (Role.VIEWER, ELSEWHERE, lambda on, who: overlap.find_shared(on.bridge, who, 1, 2)),
    "shared_csv": (Role.VIEWER, ELSEWHERE, lambda on, who: overlap.shared_csv(on.bridge, who, 1, 2)),
    "find_members": (Role.VIEWER, ELSEWHERE, lambda on, who: members.find_members(on.bridge, who, 1)),
    "freshness": (Role.VIEWER, READS, lambda on, who: overview.freshness(on.bridge, who, [])),
    "get_quota_status": (Role.VIEWER, READS, lambda on, who: overview.get_quota_status(on.bridge, who)),
    "kept_runs": (Role.VIEWER, READS, lambda on, who: members.kept_runs(on.bridge, who, 1)),
    "latest_reads": (Role.VIEWER, READS, lambda on, who: match_funnel.latest_reads(on.bridge, who)),
    "excluded": (Role.VIEWER, ELSEWHERE, lambda on, who: match_funnel.excluded(on.bridge, who, on.queued)),
    "excluded_csv": (Role.VIEWER, ELSEWHERE, lambda on, who: match_funnel.excluded_csv(on.bridge, who, on.queued)),
    "match_rates": (Role.VIEWER, READS, lambda on, who: overview.match_rates(on.bridge, who, 1)),
    "get_match_rule": (
        Role.VIEWER,
        READS,
        lambda on, who: settings.get_match_rule(on.bridge, who, listing.get_sync(on.bridge, who, on.active)),
    ),
    "suggest_shrink_limit": (Role.VIEWER, READS, lambda on, who: settings.suggest_shrink_limit(on.bridge, who, 1)),
    "find_last_read": (Role.VIEWER, ELSEWHERE, lambda on, who: match_funnel.find_last_read(on.bridge, who, 7)),
    "list_shares": (Role.VIEWER, READS, lambda on, who: match_funnel.list_shares(on.bridge, who, limit=1)),
    "list_reads": (Role.VIEWER, READS, lambda on, who: match_funnel.list_reads(on.bridge, who, 1, 7)),
    "find_read": (Role.VIEWER, READS, lambda on, who: match_funnel.find_read(on.bridge, who, on.queued)),
    "group_states": (Role.VIEWER, READS, lambda on, who: group_state.group_states(on.bridge, who)),
    "get_run_log": (Role.VIEWER, READS, lambda on, who: overview.get_run_log(on.bridge, who, on.queued)),
    "runs_csv": (Role.VIEWER, READS, lambda on, who: overview.runs_csv(on.bridge, who, RunFilter())),
    "count_recent_runs": (
        Role.VIEWER,
        READS,
        lambda on, who: overview.count_recent_runs(on.bridge, who, timedelta(days=1)),
    ),
    "sizes": (Role.VIEWER, READS, lambda on, who: overview.sizes(on.bridge, who, 1, over=timedelta(days=1))),
    "sync_names": (Role.VIEWER, READS, lambda on, who: overview.sync_names(on.bridge, who)),
    "trends": (Role.VIEWER, READS, lambda on, who: overview.trends(on.bridge, who)),
    "count_attention": (Role.VIEWER, READS, lambda on, who: attention.count_attention(on.bridge, who)),
    "get_attention": (
        Role.VIEWER,
        READS,
        lambda on, who: attention.get_attention(on.bridge, who, AttentionItems(paused=[], runs=[])),
    ),
    "search_everything": (Role.VIEWER, READS, lambda on, who: search.search_everything(on.bridge, who, "any")),
    "explain_absence": (
        Role.VIEWER,
        READS,
        lambda on, who: absence.explain_absence(on.bridge, who, user_lookup.look_up_user(on.bridge, who, "i_1")),
    ),
    "look_up_user": (Role.VIEWER, READS, lambda on, who: user_lookup.look_up_user(on.bridge, who, "i_1")),
    "list_run_actors": (Role.VIEWER, READS, lambda on, who: overview.list_run_actors(on.bridge, who)),
    "workers": (Role.VIEWER, READS, lambda on, who: overview.workers(on.bridge, who)),
    "list_slot_lines": (
        Role.VIEWER,
        READS,
        lambda on, who: slots.list_slot_lines(on.bridge, who, [listing.get_sync(on.bridge, who, on.active)]),
    ),
    "list_on_time": (
        Role.VIEWER,
        READS,
        lambda on, who: slots.list_on_time(on.bridge, who, [listing.get_sync(on.bridge, who, on.active)]),
    ),
    "list_latest_in_a_row": (
        Role.VIEWER,
        READS,
        lambda on, who: run_history.list_latest_in_a_row(on.bridge, who, [on.active]),
    ),
    "count_runs_by_day": (
        Role.VIEWER,
        READS,
        lambda on, who: run_history.count_runs_by_day(on.bridge, who, RunFilter(), []),
    ),
    "list_run_destinations": (
        Role.VIEWER,
        READS,
        lambda on, who: run_history.list_run_destinations(on.bridge, who),
    ),
    "list_saved_filters": (
        Role.VIEWER,
        READS,
        lambda on, who: saved_filters.list_saved_filters(on.bridge, who, "history"),
    ),
    # What everyone may keep for themselves.
    "save_filter": (
        Role.VIEWER,
        WORKED,
        lambda on, who: saved_filters.save_filter(on.bridge, who, "history", "Failed", "status=failed"),
    ),
    "remove_saved_filter": (
        Role.VIEWER,
        ELSEWHERE,
        lambda on, who: saved_filters.remove_saved_filter(on.bridge, who, 1),
    ),
    # What everyone may do with their own sign-in.
    "end_my_sign_ins": (Role.VIEWER, WORKED, lambda on, who: people.end_my_sign_ins(on.bridge, who)),
    "sign_out": (Role.VIEWER, WORKED, lambda on, who: sign_in.sign_out(on.bridge, who)),
    # What analysts do.
    "add_sync": (Role.ANALYST, WORKED, lambda on, who: recurring.add_sync(on.bridge, who, 9)),
    "apply_held": (Role.ANALYST, WORKED, lambda on, who: held_runs.apply_held(on.bridge, who, on.held)),
    "cancel_run": (Role.ANALYST, WORKED, lambda on, who: runs.cancel_run(on.bridge, who, on.queued)),
    "find_held": (Role.ANALYST, READS, lambda on, who: held_runs.find_held(on.bridge, who, on.held)),
    "discard_held": (Role.ANALYST, WORKED, lambda on, who: held_runs.discard_held(on.bridge, who, on.held)),
    "edit_sync": (
        Role.ANALYST,
        WORKED,
        lambda on, who: settings.edit_sync(on.bridge, who, on.active, every_minutes=60, max_shrink=5),
    ),
    "list_cohorts": (Role.ANALYST, ELSEWHERE, lambda on, who: cohorts.list_cohorts(on.bridge, who, mixpanel="none")),
    "pause_sync": (Role.ANALYST, WORKED, lambda on, who: recurring.pause_sync(on.bridge, who, on.active)),
    "remove_sync": (Role.ANALYST, WORKED, lambda on, who: recurring.remove_sync(on.bridge, who, on.active)),
    "resume_sync": (Role.ANALYST, WORKED, lambda on, who: recurring.resume_sync(on.bridge, who, on.paused)),
    "run_now": (Role.ANALYST, WORKED, lambda on, who: recurring.run_now(on.bridge, who, on.active)),
    "require_current": (Role.ANALYST, ELSEWHERE, lambda on, who: previews.require_current(on.bridge, who, on.queued)),
    "start_exports": (
        Role.ANALYST,
        WORKED,
        lambda on, who: several.start_exports(on.bridge, who, [8], ExportSettings()),
    ),
    "check_exports": (
        Role.ANALYST,
        READS,
        lambda on, who: several.check_exports(on.bridge, who, [8, 9], ExportSettings()),
    ),
    "cancel_waiting": (Role.ANALYST, WORKED, lambda on, who: several.cancel_waiting(on.bridge, who, [on.queued])),
    "forecast_exports": (Role.ANALYST, READS, lambda on, who: export_forecast.forecast_exports(on.bridge, who, [])),
    "start_export": (Role.ANALYST, WORKED, lambda on, who: one_time.start_export(on.bridge, who, 8)),
    # What they ask for is queued already; their own tests have what they queue.
    "export_again": (Role.ANALYST, READS, lambda on, who: run_again.export_again(on.bridge, who, 1)),
    "run_each_again": (Role.ANALYST, READS, lambda on, who: run_again.run_each_again(on.bridge, who, [on.queued])),
    "run_again": (Role.ANALYST, READS, lambda on, who: run_again.run_again(on.bridge, who, on.queued)),
    "undo_to": (Role.ANALYST, ELSEWHERE, lambda on, who: undo.undo_to(on.bridge, who, on.queued)),
    "associate_one": (
        Role.ANALYST,
        WORKED,
        lambda on, who: actions.associate_one(on.bridge, who, distinct_id="u", apptimize_id="i_u"),
    ),
    "association_outcomes": (
        Role.ANALYST,
        ELSEWHERE,
        lambda on, who: actions.association_outcomes(on.bridge, who, 1),
    ),
    "cancel_association": (Role.ANALYST, ELSEWHERE, lambda on, who: actions.cancel_association(on.bridge, who, 1)),
    "change_sync_matching": (
        Role.ANALYST,
        WORKED,
        lambda on, who: settings.change_sync_matching(on.bridge, who, on.active, match_property="other"),
    ),
    "accept_problems": (
        Role.ANALYST,
        ELSEWHERE,
        lambda on, who: actions.accept_problems(on.bridge, who, 1, ["date"]),
    ),
    "choose_prefix": (Role.ANALYST, ELSEWHERE, lambda on, who: actions.choose_prefix(on.bridge, who, 1, "i_")),
    "confirm_association": (
        Role.ANALYST,
        ELSEWHERE,
        lambda on, who: actions.confirm_association(on.bridge, who, 1),
    ),
    "get_association": (Role.ANALYST, ELSEWHERE, lambda on, who: actions.get_association(on.bridge, who, 1)),
    "has_plan": (Role.ANALYST, READS, lambda on, who: actions.has_plan(on.bridge, who, 1)),
    "list_associations": (Role.ANALYST, READS, lambda on, who: actions.list_associations(on.bridge, who)),
    "pause_syncs": (Role.ANALYST, WORKED, lambda on, who: recurring.pause_syncs(on.bridge, who, [on.active])),
    "planned_rows": (Role.ANALYST, ELSEWHERE, lambda on, who: actions.planned_rows(on.bridge, who, 1)),
    "resume_association": (Role.ANALYST, ELSEWHERE, lambda on, who: actions.resume_association(on.bridge, who, 1)),
    "resume_syncs": (Role.ANALYST, WORKED, lambda on, who: recurring.resume_syncs(on.bridge, who, [on.paused])),
    "save_outcomes": (
        Role.ANALYST,
        ELSEWHERE,
        lambda on, who: actions.save_outcomes(on.bridge, who, 1, on.folder / "x"),
    ),
    "start_association": (
        Role.ANALYST,
        WORKED,
        lambda on, who: actions.start_association(on.bridge, who, BytesIO(b"distinct_id")),
    ),
    # What admins do.
    "add_person": (Role.ADMIN, WORKED, lambda on, who: people.add_person(on.bridge, who, "new@example.com")),
    "audit_actions": (Role.ADMIN, READS, lambda on, who: audit_log.audit_actions(on.bridge, who)),
    "audit_csv": (Role.ADMIN, READS, lambda on, who: audit_log.audit_csv(on.bridge, who)),
    "audit_line": (Role.ADMIN, READS, lambda on, who: audit_log.audit_line(on.bridge, who, 1)),
    "change_role": (Role.ADMIN, WORKED, lambda on, who: people.change_role(on.bridge, who, on.other_person, "admin")),
    "connect_csv": (
        Role.ADMIN,
        WORKED,
        lambda on, who: destinations.connect_csv(on.bridge, who, folder=str(on.folder), name="new"),
    ),
    "change_folder": (
        Role.ADMIN,
        WORKED,
        lambda on, who: destinations.change_folder(on.bridge, who, 2, folder=str(on.folder)),
    ),
    "change_address": (
        Role.ADMIN,
        ELSEWHERE,
        lambda on, who: destinations.change_address(on.bridge, who, 2, NO_RECEIVER),
    ),
    "connect_receiver": (
        Role.ADMIN,
        ELSEWHERE,
        lambda on, who: destinations.connect_receiver(on.bridge, who, NO_RECEIVER, name="new"),
    ),
    "replace_sign_in": (
        Role.ADMIN,
        ELSEWHERE,
        lambda on, who: destinations.replace_sign_in(on.bridge, who, 2, NO_RECEIVER),
    ),
    "change_receiver": (
        Role.ADMIN,
        ELSEWHERE,
        lambda on, who: destinations.change_receiver(on.bridge, who, 2, member_id="distinct"),
    ),
    "replace_token": (
        Role.ADMIN,
        ELSEWHERE,
        lambda on, who: destinations.replace_token(on.bridge, who, 2, SecretStr("x")),
    ),
    "keep_apart": (Role.ADMIN, WORKED, lambda on, who: destinations.keep_apart(on.bridge, who, 2)),
    "list_shared": (Role.ADMIN, READS, lambda on, who: destinations.list_shared(on.bridge, who)),
    "suggest_name": (
        Role.ADMIN,
        READS,
        lambda on, who: entering.suggest_name(on.bridge, who, "destination", "default"),
    ),
    "replace_secret": (
        Role.ADMIN,
        ELSEWHERE,
        lambda on, who: mixpanel_connection.replace_secret(on.bridge, who, 1, username="", secret=SecretStr("")),
    ),
    "change_project": (
        Role.ADMIN,
        ELSEWHERE,
        lambda on, who: mixpanel_connection.change_project(
            on.bridge, who, 1, mixpanel_connection.MixpanelForm("", SecretStr(""), "no number")
        ),
    ),
    "connect_endpoint": (
        Role.ADMIN,
        ELSEWHERE,
        lambda on, who: destinations.connect_endpoint(on.bridge, who, url="no address", token=SecretStr("x")),
    ),
    "connect_mixpanel": (
        Role.ADMIN,
        ELSEWHERE,
        lambda on, who: mixpanel_connection.connect_mixpanel(
            on.bridge, who, mixpanel_connection.MixpanelForm("", SecretStr(""), "no number")
        ),
    ),
    "count_audit": (Role.ADMIN, READS, lambda on, who: audit_log.count_audit(on.bridge, who)),
    "disable_person": (Role.ADMIN, WORKED, lambda on, who: people.disable_person(on.bridge, who, on.other_person)),
    "enable_person": (Role.ADMIN, READS, lambda on, who: people.enable_person(on.bridge, who, on.other_person)),
    "end_sign_ins": (Role.ADMIN, WORKED, lambda on, who: people.end_sign_ins(on.bridge, who, on.other_person)),
    "list_audit": (Role.ADMIN, READS, lambda on, who: audit_log.list_audit(on.bridge, who)),
    "list_people": (Role.ADMIN, READS, lambda on, who: people.list_people(on.bridge, who)),
    "list_tokens": (Role.ADMIN, READS, lambda on, who: tokens.list_tokens(on.bridge, who)),
    "make_token": (Role.ADMIN, WORKED, lambda on, who: tokens.make_token(on.bridge, who, "new", "viewer")),
    "revoke_token": (Role.ADMIN, WORKED, lambda on, who: tokens.revoke_token(on.bridge, who, on.token)),
    "remove_connection": (Role.ADMIN, WORKED, lambda on, who: removal.remove_connection(on.bridge, who, 2)),
    "change_match_setting": (
        Role.ADMIN,
        WORKED,
        lambda on, who: mixpanel_connection.change_match_setting(
            on.bridge, who, 1, match_property="other", expects_prefix=None
        ),
    ),
    "send_test": (Role.ADMIN, ELSEWHERE, lambda on, who: trial.send_test(on.bridge, who, 99)),
    "set_project_token": (
        Role.ADMIN,
        WORKED,
        lambda on, who: mixpanel_connection.set_project_token(on.bridge, who, 1, SecretStr("t")),
    ),
    "find_traces": (Role.ADMIN, READS, lambda on, who: person.find_traces(on.bridge, who, "i_1")),
    "forget_person": (
        Role.ADMIN,
        WORKED,
        lambda on, who: person.forget_person(on.bridge, who, "i_1", patience_s=0.0),
    ),
    "back_up": (
        Role.ADMIN,
        WORKED,
        lambda on, who: backing_up.back_up(on.bridge, who, on.folder.parent / "backup.tar", force=True),
    ),
    "export_config": (Role.ADMIN, READS, lambda on, who: exporting.export_config(on.bridge, who)),
    "plan_config": (Role.ADMIN, ELSEWHERE, lambda on, who: applying.plan_config(on.bridge, who, on.folder / "no")),
    "apply_config": (Role.ADMIN, ELSEWHERE, lambda on, who: applying.apply_config(on.bridge, who, on.folder / "no")),
    "rotate_key": (Role.ADMIN, WORKED, lambda on, who: key_rotation.rotate_key(on.bridge, who)),
    "adopt": (Role.ADMIN, WORKED, lambda on, who: adopting.adopt(on.bridge, who, key=True, storage=True)),
    "list_channels": (Role.ADMIN, READS, lambda on, who: channels.list_channels(on.bridge, who)),
    "add_channel": (Role.ADMIN, WORKED, lambda on, who: channels.add_channel(on.bridge, who, NO_CHANNEL)),
    "edit_channel": (
        Role.ADMIN,
        WORKED,
        lambda on, who: channels.edit_channel(on.bridge, who, 1, ChannelForm("other")),
    ),
    "enable_channel": (Role.ADMIN, READS, lambda on, who: channels.enable_channel(on.bridge, who, 1)),
    "disable_channel": (Role.ADMIN, WORKED, lambda on, who: channels.disable_channel(on.bridge, who, 1)),
    "remove_channel": (Role.ADMIN, WORKED, lambda on, who: channels.remove_channel(on.bridge, who, 1)),
    "list_open_alerts": (Role.VIEWER, READS, lambda on, who: told.list_open_alerts(on.bridge, who)),
    "list_lost_messages": (Role.VIEWER, READS, lambda on, who: told.list_lost_messages(on.bridge, who)),
    "list_told_messages": (Role.VIEWER, READS, lambda on, who: told.list_told_messages(on.bridge, who)),
    "mark_messages_seen": (Role.ANALYST, READS, lambda on, who: told.mark_messages_seen(on.bridge, who, [99])),
    "get_failing_after": (Role.ADMIN, READS, lambda on, who: told.get_failing_after(on.bridge, who)),
    "set_failing_after": (Role.ADMIN, WORKED, lambda on, who: told.set_failing_after(on.bridge, who, 5)),
    "send_test_alert": (Role.ADMIN, ELSEWHERE, lambda on, who: channels.send_test_alert(on.bridge, who, 99)),
    "verify_audit": (Role.ADMIN, READS, lambda on, who: audit_log.verify_audit(on.bridge, who)),
}


@pytest.fixture
def stage(bridge: Bridge, group_with_runs: list[Run], tmp_path: Path) -> Stage:
    with write_session(bridge.engine) as session:
        group = session.exec(select(Group)).one()
        session.exec(select(Connection).where(Connection.name == "default")).one().secret = bridge.vault.encrypt("s")
        common = {"kind": SyncKind.RECURRING, "mixpanel_id": 1, "project_id": 1, "cohort_id": 7, "every_minutes": 15}
        active = Sync(created_at=bridge.clock.now(), **common, group_id=group.id, next_run_at=bridge.clock.now())
        paused = Sync(created_at=bridge.clock.now(), **common, group_id=group.id, state=SyncState.PAUSED)
        other = Person(email="other@example.com", role="analyst", created_at=bridge.clock.now())
        held = session.get_one(Run, group_with_runs[1].id)
        held.status = RunStatus.HELD
        token = ApiToken(
            name="dbt",
            role="viewer",
            secret_hash="0" * 64,
            secret_end="0000",
            created_by="local",
            created_at=bridge.clock.now(),
        )
        channel = AlertChannel(name="Ops", kind="webhook", created_at=bridge.clock.now())
        session.add_all([active, paused, other, channel, token])
        session.flush()
        numbers = (active.id or 0, paused.id or 0, other.id or 0, token.id or 0)
    queued, held_id = group_with_runs[0].id or 0, group_with_runs[1].id or 0
    return Stage(bridge, queued, held_id, *numbers, folder=tmp_path / "folder")


def sign_in_person(bridge: Bridge, role: Role, claimed: Role) -> Actor:
    """Sign a person in who has one role by the database, and claims another."""
    with write_session(bridge.engine) as session:
        person = Person(email=f"{role.label}@example.com", role=role.label, created_at=bridge.clock.now())
        session.add(person)
        session.flush()
        session.add(
            SignIn(
                key=f"key of {role.label}",
                person_id=person.id,
                issued_at=bridge.clock.now(),
                seen_at=bridge.clock.now(),
            )
        )
    return Actor(person.email, claimed, person.id, f"key of {role.label}")


def lines(bridge: Bridge) -> list[tuple[str, str, str]]:
    with read_session(bridge.engine) as session:
        entries = session.exec(select(AuditEntry).order_by(AuditEntry.number)).all()  # type: ignore[arg-type]
    return [(line.who, line.action, line.outcome) for line in entries]


def everything(bridge: Bridge) -> list[tuple[object, ...]]:
    """What the tables that people decide about hold."""
    with read_session(bridge.engine) as session:
        tables = (
            AlertChannel, AlertSetting, ApiToken, Association, Connection, Group, Person, Run, SavedFilter, Sync,
        )  # fmt: skip
        return [
            tuple(row) for table in tables for row in session.connection().execute(select(*table.__table__.columns))
        ]


def test_every_action_is_in_the_table_with_the_role_that_it_needs():
    import_core()

    assert {name: role for name, (role, _, _) in TABLE.items()} == roles.ACTIONS


@pytest.mark.parametrize("role", list(Role))
def test_each_role_does_what_it_may_and_is_refused_the_rest(stage: Stage, role: Role):
    refused = [name for name, (needed, _, _) in TABLE.items() if needed > role]
    # The actor claims to be an admin: the database knows better.
    who = sign_in_person(stage.bridge, role, claimed=Role.ADMIN)
    before = everything(stage.bridge)

    for name in refused:
        with pytest.raises(NotAllowed, match=f"and {role.label}@example.com has the role {role.label}"):
            TABLE[name][2](stage, who)

    assert everything(stage.bridge) == before
    assert lines(stage.bridge) == [(who.name, name, "refused") for name in refused]


# Nobody answers here: that an attempt to connect failed is written down as well.
TRIED_ELSEWHERE = {
    "connect_mixpanel", "replace_secret", "change_project", "connect_endpoint", "replace_token", "change_address",
    "connect_receiver", "replace_sign_in", "change_receiver", "send_test",
}  # fmt: skip


# What ends elsewhere, and what is in files alone.
CHANGE_NO_ROW = ("sign_out", "forget_person", "back_up", "adopt")
OF_A_FILE = ("back_up",)  # refused where the database is none


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.sqlite_file] * (name in OF_A_FILE)) for name in TABLE]
)
def test_an_action_works_for_the_role_that_it_needs_and_writes_down_what_it_changes(stage: Stage, name: str):
    needed, what, call = TABLE[name]
    who = sign_in_person(stage.bridge, needed, claimed=Role.VIEWER)
    before = everything(stage.bridge)

    with suppress(*([CohortBridgeError] if what == ELSEWHERE else [])):
        call(stage, who)

    written = lines(stage.bridge)
    done = [(who.name, name, "done")] if what == WORKED else []
    assert written == ([(who.name, name, "refused")] if name in TRIED_ELSEWHERE else done)
    assert (everything(stage.bridge) != before) == (what == WORKED) or name in CHANGE_NO_ROW
    with read_session(stage.bridge.engine) as session:
        assert session.exec(select(func.count()).select_from(AuditEntry)).one() == len(written)


def test_what_a_deactivated_person_tries_is_written_down(stage: Stage):
    who = sign_in_person(stage.bridge, Role.ADMIN, claimed=Role.ADMIN)
    with write_session(stage.bridge.engine) as session:
        session.get_one(Person, who.person_id).disabled = True

    with pytest.raises(NotAllowed, match="was deactivated"):
        people.add_person(stage.bridge, who, "evil@example.com", "admin")

    assert lines(stage.bridge) == [(who.name, "add_person", "refused")]


def test_no_one_acts_by_a_sign_in_that_is_over(stage: Stage):
    who = sign_in_person(stage.bridge, Role.ADMIN, claimed=Role.ADMIN)
    with write_session(stage.bridge.engine) as session:
        session.get_one(SignIn, who.sign_in).ended_at = stage.bridge.clock.now()

    for name in TABLE:
        with pytest.raises(NotAllowed, match="signed out"):
            TABLE[name][2](stage, who)


def test_who_lacks_the_role_is_refused_before_anything_is_done(bridge: Bridge):
    with pytest.raises(NotAllowed, match="needs the role analyst"):
        one_time.start_export(bridge, Actor("pm@example.com", Role.VIEWER), 1)

    assert runs.list_runs(bridge, roles.LOCAL) == []


def test_each_role_may_do_what_the_roles_below_it_may():
    roles.require(Actor("a", Role.ADMIN), Role.VIEWER)
    with pytest.raises(NotAllowed):
        roles.require(Actor("a", Role.ANALYST), Role.ADMIN)
