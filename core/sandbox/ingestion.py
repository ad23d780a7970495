"""Mixpanel's Ingestion API: profile updates, events, and the events that link identities."""

import base64
import binascii
import json
import re
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import Response

from core.sandbox import people
from core.sandbox.project import UUID4, Project
from core.sandbox.wire import Call, Refused, Service, as_list, as_object, reply, unzip

# Mixpanel docs reference/user-profile-limits and reference/import-events, read 2026-11-23.
RECORD_LIMIT = 2000
PROFILE_BYTES = 2**20
EVENT_BYTES = 2_097_152
VERBS = ("$set", "$set_once", "$add", "$union", "$append", "$remove", "$unset", "$delete")
IDENTITY_EVENTS = ("$identify", "$create_alias", "$merge")
NOT_IN_SIMPLIFIED = "identity events are not allowed when project is using simplified identity management"
STATUS_TEXTS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 413: "Request Entity Too Large"}
Failures = list[dict[str, Any]]


class Ingestion:
    """Accept what the SDKs and servers of a project send."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.engage = Service("ingestion", "ingestion", self._engage)
        self.track = Service("ingestion", "ingestion", self._track)
        self.import_ = Service("ingestion", "ingestion", self._import)

    # Profiles

    def _engage(self, call: Call) -> Response:
        if len(call.body) > PROFILE_BYTES:
            return _strict(413, error=f"request exceeds max limit of {PROFILE_BYTES} bytes")
        try:
            _check_faults(call)
            updates = _records(call)
            refused = int(call.faults.get("records_refused", {}).get("rows", 0))
            with self.project.batch():
                failures = [
                    {"index": index, "field": field, "message": message}
                    for index, update in enumerate(updates)
                    for field, message in (
                        [("", "the record was refused")] if index < refused else self._update(as_object(update))
                    )
                ]
        except Refused as refused:
            return _plain(call, refused)
        return _received(call, len(updates), failures)

    def _update(self, update: dict[str, Any] | None) -> list[tuple[str, str]]:
        """Apply one update; return what is wrong with it, if anything."""
        if update is None:
            return [("", "an update must be an object")]
        distinct_id, verbs = update.get("$distinct_id"), [verb for verb in VERBS if verb in update]
        if not update.get("$token"):
            return [("$token", "$token is missing")]
        if isinstance(distinct_id, bool) or not isinstance(distinct_id, str | int) or distinct_id == "":
            return [("$distinct_id", "$distinct_id is missing or not text")]
        if not verbs:
            return [("", "no update operation")]
        for verb in verbs:
            value = update[verb]
            if verb not in ("$unset", "$delete") and not isinstance(value, dict):
                return [(verb, f"{verb} must be an object")]
        # A token that belongs to no project is accepted and goes nowhere: `1` proves nothing.
        if update["$token"] == people.PROJECT_TOKEN:
            self._apply(update, distinct_id, verbs)
        return []

    def _apply(self, update: dict[str, Any], distinct_id: str | int, verbs: list[str]) -> None:
        ignore_alias = "$delete" in verbs and update.get("$ignore_alias") is True
        id = str(distinct_id) if ignore_alias else self.project.resolve(str(distinct_id))
        person = self.project.people.get(id)
        properties: dict[str, Any] | None = (
            dict(person.properties) if person and person.properties is not None else None
        )
        for verb in verbs:
            properties = None if verb == "$delete" else _changed(properties or {}, verb, update[verb])
        if properties is not None or person is not None:
            self.project.save(distinct_id if id == str(distinct_id) else id, properties)

    # Events

    def _track(self, call: Call) -> Response:
        try:
            _check_faults(call)
            events = _records(call)
            failures: Failures = []
            for index, record in enumerate(events):
                event = as_object(record)
                properties = as_object((event or {}).get("properties"))
                if event is None or not isinstance(event.get("event"), str) or properties is None:
                    failures.append({"index": index, "field": "event", "message": "event and properties are required"})
                elif not properties.get("token"):
                    failures.append({"index": index, "field": "properties.token", "message": "token is missing"})
                elif properties["token"] == people.PROJECT_TOKEN:
                    self._event(event["event"], properties)
        except Refused as refused:
            return _plain(call, refused)
        return _received(call, len(events), failures)

    def _import(self, call: Call) -> Response:
        given = call.credentials()
        accounts = [
            account
            for account in people.ACCOUNTS
            if (account.username, account.secret) == given and account.expires is None
        ]
        if not accounts or call.query.get("project_id") != str(people.PROJECT_ID):
            return _strict(401, error="Invalid credentials")
        try:
            _check_faults(call)
            zipped = call.headers.get("content-encoding", "") == "gzip"
            body = unzip(call.body, EVENT_BYTES) if zipped else call.body
            if len(body) > EVENT_BYTES:
                return _strict(413, error=f"request exceeds max limit of {EVENT_BYTES} bytes")
            events = _events(body, ndjson="ndjson" in call.headers.get("content-type", ""))
        except Refused as refused:
            return _strict(refused.status, error=refused.message, imported=0)
        failures: Failures = []
        for index, record in enumerate(events):
            event = as_object(record) or {}
            properties = as_object(event.get("properties")) or {}
            wrong = self._wrong(event, properties)
            if wrong is None:
                self._event(event["event"], properties)
            else:
                id = str(properties.get("$insert_id") or "")
                failures.append({"index": index, "insert_id": id, "field": wrong[0], "message": wrong[1]})
        if not failures or call.query.get("strict") == "0":
            return _strict(200, imported=len(events) - len(failures))
        text = "some data points in the request failed validation"
        return _strict(400, error=text, imported=len(events) - len(failures), failures=failures)

    def _wrong(self, event: dict[str, Any], properties: dict[str, Any]) -> tuple[str, str] | None:
        if not isinstance(event.get("event"), str) or not event["event"]:
            return "event", "'event' must be text and not empty"
        if event["event"] in IDENTITY_EVENTS:
            return ("event", NOT_IN_SIMPLIFIED) if self.project.id_merge == "simplified" else None
        at = properties.get("time")
        if not isinstance(at, int | float) or isinstance(at, bool):
            return "properties.time", "'properties.time' is invalid: must be specified as seconds since epoch"
        if not properties.get("$insert_id"):
            return "properties.$insert_id", "'properties.$insert_id' is invalid: must not be missing or empty"
        if not isinstance(properties.get("distinct_id"), str):
            return "properties.distinct_id", "'properties.distinct_id' is invalid: must not be missing"
        if len(properties) > 255:
            return "properties", "'properties' is invalid: must have at most 255 keys"
        return None

    def _event(self, name: str, properties: dict[str, Any]) -> None:
        """Store an event; an identity event also links, or fails silently: enforcement comes after the answer."""
        if self.project.id_merge == "simplified":
            self._link_device(properties)
            owner = properties.get("$user_id") or properties.get("distinct_id")
            failure = "ignored" if name in IDENTITY_EVENTS else None
        elif name in IDENTITY_EVENTS:
            owner, failure = self._identify(name, properties)
        else:
            owner, failure = properties.get("distinct_id"), None
        device = properties.get("$device_id")
        owner = owner or (f"$device:{device}" if device else "")
        kept = {key: value for key, value in properties.items() if key != "token"}
        self.project.add_event(str(owner), {"event": name, "properties": kept}, failure)

    def _link_device(self, properties: dict[str, Any]) -> None:
        """The first event with both ids links them; later users of the device change nothing."""
        device, user = properties.get("$device_id"), properties.get("$user_id")
        alias = f"$device:{device}"
        if device and user and self.project.resolve(alias) == alias:
            self.project.merge(str(user), alias)

    def _identify(self, name: str, properties: dict[str, Any]) -> tuple[Any, str | None]:
        # Failure reasons: the decision diagrams of Mixpanel docs reference/create-identity and its neighbours.
        project = self.project
        if name == "$merge":
            pair = [str(id) for id in as_list(properties.get("$distinct_ids")) or []]
            if len(pair) != 2:
                return None, "errNotTwoIDs"
            if (failure := project.merge_failure(*pair)) is None:
                project.merge(*pair)
            return pair[0], failure
        if name == "$create_alias":
            owner, alias = properties.get("distinct_id"), properties.get("alias")
            if not owner or not alias:
                return owner, "errMissingID"
            if (failure := project.link_failure(str(alias), str(owner))) is None:
                project.link(str(alias), str(owner))
            return owner, "errAliasAlreadyExists" if failure == "errSameIDs" else failure
        owner, visitor = str(properties.get("$identified_id") or ""), str(properties.get("$anon_id") or "")
        if owner == visitor:
            return owner, "errSameIDs"
        if not UUID4.fullmatch(visitor):
            return owner, "errAnonDistinctIdNonGUIDForm"
        if project.resolve(visitor) != visitor or project.aliases(visitor):
            return owner, "errAnonDistinctIdAssignedAlready"
        if (failure := project.merge_failure(owner, visitor)) is None:
            project.merge(owner, visitor)
        return owner, failure


def _check_faults(call: Call) -> None:
    if "failure_200" in call.faults:
        raise Refused(400, "nothing was taken")
    if "server_error" in call.faults:
        raise Refused(500, "Internal server error")


def _changed(properties: dict[str, Any], verb: str, value: Any) -> dict[str, Any]:
    """Return the properties after one operation of Mixpanel's profile API (docs reference/profile-set and the rest)."""
    if verb == "$unset":
        names = as_list(value) or []
        return {name: kept for name, kept in properties.items() if name not in names}
    changes = as_object(value) or {}
    if verb == "$set":
        return {**properties, **changes}
    if verb == "$set_once":
        return {**changes, **properties}
    after = dict(properties)
    for name, change in changes.items():
        old = after.get(name)
        items = as_list(old) or []
        if verb == "$add":
            if _is_number(change) and (old is None or _is_number(old)):
                after[name] = (old or 0) + change
        elif verb == "$append":
            after[name] = [*items, change]
        elif verb == "$union":
            after[name] = items + [item for item in as_list(change) or [change] if item not in items]
        elif verb == "$remove" and change in items:
            items = list(items)
            items.remove(change)
            after[name] = items
    return after


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _records(call: Call) -> list[Any]:
    """Return the records of a JSON body (array or one object) or of a form's `data`, plain or base64."""
    body = call.body
    if "json" not in call.headers.get("content-type", ""):
        data = parse_qs(body.decode("utf-8", "replace")).get("data")
        body = data[0].encode() if data else body
    try:
        value: Any = json.loads(body)
    except ValueError:
        try:
            value = json.loads(base64.b64decode(body, validate=True))
        except (ValueError, binascii.Error):
            raise Refused(400, "data, missing or empty") from None
    records = as_list(value) if isinstance(value, list) else [value]
    if not records:
        raise Refused(400, "data, missing or empty")
    if len(records) > RECORD_LIMIT:
        raise Refused(413, f"request exceeds max limit of {RECORD_LIMIT} records")
    return records


def _events(body: bytes, *, ndjson: bool) -> list[Any]:
    try:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()] if ndjson else json.loads(body)
    except ValueError:
        raise Refused(400, "the body is not valid JSON") from None
    events = as_list(lines)
    if events is None:
        raise Refused(400, "a list of events is expected")
    if len(events) > RECORD_LIMIT:
        raise Refused(413, f"request exceeds max limit of {RECORD_LIMIT} events")
    return events


def _received(call: Call, count: int, failures: Failures) -> Response:
    """Answer 200 even when records failed: only the body shows it (Mixpanel docs reference/profile-set)."""
    if call.query.get("strict") == "1":
        if failures:
            text = "some data points in the request failed validation"
            return _strict(400, error=text, imported=count - len(failures), failures=failures)
        return _strict(200, imported=count)
    # The two API descriptions disagree on a batch of which some are valid; ingestion.yaml: 1 when one or more are.
    status = int(len(failures) < count)
    if call.query.get("verbose") == "1":
        return reply({"status": status, "error": None if status else failures[0]["message"]})
    callback = call.query.get("callback", "")
    if re.fullmatch(r"[A-Za-z_$][\w.$]{0,60}", callback):
        return Response(f"{callback}({status});", media_type="text/javascript")
    return Response(str(status), media_type="text/plain")


def _plain(call: Call, refused: Refused) -> Response:
    if refused.status != 400:
        return reply({"status": "error", "error": refused.message}, refused.status)
    if call.query.get("verbose") == "1":
        return reply({"status": 0, "error": refused.message})
    return Response("0", media_type="text/plain")


def _strict(
    code: int, *, error: str | None = None, imported: int | None = None, failures: Failures | None = None
) -> Response:
    answer: dict[str, Any] = {"code": code, "status": STATUS_TEXTS.get(code, "Error")}
    if error is not None:
        answer["error"] = error
    if imported is not None:
        answer["num_records_imported"] = imported
    if failures is not None:
        answer["failed_records"] = failures
    return reply(answer, code)
