"""The control API: tests and practice mode prepare the sandbox with it, and inspect what arrived."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.sandbox import faults, people
from core.sandbox.groups import Groups
from core.sandbox.receivers import Receiver
from core.sandbox.wire import Refused, as_list, as_object, reply

if TYPE_CHECKING:
    from core.sandbox.server import Sandbox

Work = Callable[["Sandbox", Request, dict[str, Any]], Any]
PROJECT_SETTINGS = ("hourly_limit", "concurrent_limit", "id_merge")


def routes(sandbox: "Sandbox") -> list[Route]:
    def route(path: str, **methods: Work) -> Route:
        return Route(f"/sandbox/api{path}", _endpoint(sandbox, methods), methods=list(methods))

    return [
        route("/faults", GET=_faults, PUT=_switch_faults, DELETE=_clear_faults),
        route("/clock", GET=_clock, PUT=_set_clock),
        route("/project", GET=_project, PUT=_set_project),
        route("/tokens", POST=_new_token),
        route("/cohorts/{id:int}", PUT=_save_cohort, DELETE=_delete_cohort),
        route("/cohorts/{id:int}/profiles", GET=_profiles),
        route("/groups/{project}/{cohort}", GET=_group, DELETE=_delete_group),
        route("/receivers", GET=_receivers, POST=_new_receiver),
        route("/receivers/{name}/groups/{project}/{cohort}", GET=_receiver_group, DELETE=_delete_receiver_group),
        route("/requests", GET=_requests, DELETE=_clear_requests),
        route("/people/{id:path}", GET=_person),
    ]


def _endpoint(sandbox: "Sandbox", methods: dict[str, Work]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        try:
            try:
                given = as_object(json.loads(body or b"{}"))
            except ValueError as error:
                raise Refused(400, "the body is not JSON") from error
            if given is None:
                raise Refused(400, "a JSON object is expected")
            work = methods["GET" if request.method == "HEAD" else request.method]
            return await run_in_threadpool(lambda: reply(work(sandbox, request, given)))
        except Refused as refused:
            return reply({"error": refused.message}, refused.status)

    return endpoint


def _faults(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    return {"faults": sandbox.faults.listed(), "known": {name: fault.about for name, fault in faults.KNOWN.items()}}


def _switch_faults(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    try:
        for name, options in given.items():
            sandbox.faults.switch(name, None if options in (None, False) else as_object(options) or {})
    except ValueError as error:
        raise Refused(400, str(error)) from None
    return _faults(sandbox, request, given)


def _clear_faults(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    sandbox.faults.clear()
    return _faults(sandbox, request, given)


def _clock(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    now = sandbox.project.now()
    return {
        "shift_seconds": sandbox.project.shift_s,
        "now": now,
        "now_text": datetime.fromtimestamp(now, UTC).isoformat(),
    }


def _set_clock(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    shift, now = given.get("shift_seconds"), given.get("now")
    try:
        if shift is not None:
            sandbox.project.set_shift(float(shift))
        elif now is not None:
            sandbox.project.set_now(datetime.fromisoformat(now).timestamp() if isinstance(now, str) else float(now))
        else:
            raise Refused(400, "shift_seconds or now is expected")
    except (TypeError, ValueError):
        raise Refused(400, "shift_seconds is a number; now is seconds since 1970 or an ISO time") from None
    return _clock(sandbox, request, given)


def _project(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    spent = {"queries_spent": sandbox.project.spent()}
    return {"project_id": people.PROJECT_ID, **sandbox.project.settings, **spent}


def _set_project(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    for name, value in given.items():
        if name not in PROJECT_SETTINGS:
            raise Refused(400, f"there is no setting {name!r}; there are {', '.join(PROJECT_SETTINGS)}")
        if name == "id_merge" and value not in ("original", "simplified"):
            raise Refused(400, "id_merge is original or simplified")
        if name != "id_merge" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise Refused(400, f"{name} is a whole number above 0")
    sandbox.project.change(given)
    return _project(sandbox, request, given)


def _new_token(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    """Make a token; with `workspace` it leads to the groups of that one alone."""
    name, workspace = str(given.get("name") or "Practice"), str(given.get("workspace") or "")
    return {"token": sandbox.apptimize.new_token(name, workspace)}


def _save_cohort(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    """Set a cohort's name, description or members, who then stay whatever the time; a new cohort needs a name."""
    id = int(request.path_params["id"])
    name, description = given.get("name"), given.get("description")
    members = as_list(given["distinct_ids"]) if "distinct_ids" in given else []
    if any(text is not None and not isinstance(text, str) for text in (name, description)):
        raise Refused(400, "name and description are texts")
    if members is None or any(isinstance(id, bool) or not isinstance(id, str | int) for id in members):
        raise Refused(400, "distinct_ids is a list of texts or integers")
    if name is None and id not in sandbox.project.cohorts:
        raise Refused(404, "there is no such cohort; a new one needs a name")
    ids = list(dict.fromkeys(map(str, members))) if "distinct_ids" in given else None
    sandbox.project.save_cohort(id, name=name, description=description, members=ids)
    return {"id": id, "name": sandbox.project.cohorts[id].name}


def _delete_cohort(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    if not sandbox.project.delete_cohort(int(request.path_params["id"])):
        raise Refused(404, "there is no such cohort")
    return {"deleted": True}


def _profiles(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    cohort = sandbox.project.cohorts.get(int(request.path_params["id"]))
    if cohort is None:
        raise Refused(404, "there is no such cohort")
    members = sandbox.project.members(cohort)
    if request.query_params.get("include_all_users", "false").lower() not in ("true", "1"):
        members = [person for person in members if person.properties is not None]
    return [{"$distinct_id": person.distinct_id, "$properties": person.properties or {}} for person in members]


def _group_key(request: Request) -> tuple[str, str, str]:
    parts = request.path_params
    return parts["project"], parts["cohort"], request.query_params.get("workspace", "")


def _group(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    return _held(sandbox.apptimize.groups, _group_key(request))


def _held(groups: Groups, key: tuple[str, str, str]) -> dict[str, Any]:
    group = groups.get(*key)
    if group is None:
        raise Refused(404, "there is no such group")
    members = dict(groups.members(group)[1])
    updated_at = datetime.fromtimestamp(group.updated_at, UTC).isoformat()
    return {
        "name": group.name,
        "description": group.description,
        "members": members,
        "updated_at": updated_at,
        "messages": group.messages,
    }


def _delete_group(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    if not sandbox.apptimize.groups.delete(*_group_key(request)):
        raise Refused(404, "there is no such group")
    return {"deleted": True}


def _receivers(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    return {"receivers": [_receiver(receiver, request) for receiver in sandbox.receivers.listed()]}


def _new_receiver(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    """Make a receiver of a kind; its sign-in, member key and header may be chosen, and whether `members` replaces."""
    kind = str(given.pop("kind", ""))
    try:
        return _receiver(sandbox.receivers.make(kind, **given), request)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _receiver(receiver: Receiver, request: Request) -> dict[str, Any]:
    return {
        "name": receiver.name,
        "kind": receiver.kind,
        "url": str(request.base_url).rstrip("/") + receiver.path,
        "sign_in": receiver.sign_in,
        "username": receiver.username,
        "secret": receiver.secret,
        "header": receiver.header,
        "key": receiver.key,
        "replaces": receiver.replaces,
    }


def _receiver_key(request: Request) -> tuple[str, str, str]:
    parts = request.path_params
    return parts["project"], parts["cohort"], parts["name"]


def _receiver_group(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    return _held(sandbox.receivers.groups, _receiver_key(request))


def _delete_receiver_group(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    if not sandbox.receivers.groups.delete(*_receiver_key(request)):
        raise Refused(404, "there is no such group")
    return {"deleted": True}


def _requests(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    return sandbox.log.report()


def _clear_requests(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    sandbox.log.clear()
    if request.query_params.get("queries"):
        sandbox.project.forget_queries()
    return sandbox.log.report()


def _person(sandbox: "Sandbox", request: Request, given: dict[str, Any]) -> Any:
    project = sandbox.project
    id = request.path_params["id"]
    canonical = project.resolve(id)
    person, events, aliases = project.people.get(canonical), project.events(canonical), project.aliases(canonical)
    if person is None and not events and not aliases:
        raise Refused(404, "no user has this id")
    return {
        "id": id,
        "distinct_id": person.distinct_id if person else canonical,
        "aliases": aliases,
        "properties": person.properties if person else None,
        "events": events,
    }
