"""The sandbox's web pages: tokens, groups, receivers and faults."""

import math
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from core.sandbox import faults, people
from core.sandbox.groups import Group, Groups

if TYPE_CHECKING:
    from core.sandbox.server import Sandbox

MEMBERS_PER_PAGE = 50
NAME_LIMIT = 80
# No script, nothing from elsewhere: a cohort's name must stay text even if the escaping should fail.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    # Not "no-referrer": the browser would then send our own forms with the origin "null".
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def routes(sandbox: "Sandbox") -> list[Route]:
    pages = Pages(sandbox)
    listed: list[tuple[str, str, Callable[[Request, dict[str, str]], Response]]] = [
        ("/", "GET", pages.home),
        ("/apptimize", "GET", pages.apptimize),
        ("/apptimize/tokens", "GET", pages.tokens),
        ("/apptimize/tokens", "POST", pages.generate_token),
        ("/apptimize/tokens/new", "GET", pages.new_token),
        ("/apptimize/tokens/{id:int}/delete", "GET", pages.ask_delete_token),
        ("/apptimize/tokens/{id:int}/delete", "POST", pages.delete_token),
        ("/apptimize/groups", "GET", pages.groups),
        ("/apptimize/groups/{project}/{cohort}", "GET", pages.group),
        ("/sandbox/receivers", "GET", pages.receivers),
        ("/sandbox/receivers/{name}/{project}/{cohort}", "GET", pages.received),
        ("/sandbox/faults", "GET", pages.faults),
        ("/sandbox/faults", "POST", pages.switch_fault),
        ("/sandbox/clock", "POST", pages.move_clock),
    ]

    def endpoint(work: Callable[[Request, dict[str, str]], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
            return await run_in_threadpool(work, request, form)

        return answer

    return [Route(path, endpoint(work), methods=[method]) for path, method, work in listed]


class Pages:
    """The pages, and the values of tokens that are still to be shown, once each."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self.sandbox = sandbox
        self._shown_once: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
        )
        filters: dict[str, Any] = {"thousands": _thousands, "moment": _moment, "machine": _machine}
        self._templates.filters.update(filters)  # pyright: ignore[reportUnknownMemberType]

    def _page(self, template: str, /, status: int = 200, **values: Any) -> Response:
        text = self._templates.get_template(template).render(
            banner="Practice stand-in, not the real Apptimize", **values
        )
        # A lone surrogate in a user's name must not take the page down.
        return HTMLResponse(text.encode("utf-8", "replace"), status, SECURITY_HEADERS)

    def home(self, request: Request, form: dict[str, str]) -> Response:
        project = self.sandbox.project
        cohorts = [(cohort, len(project.members(cohort))) for cohort in project.cohorts.values()]
        faults_on = sum(fault["active"] for fault in self.sandbox.faults.listed().values())
        return self._page(
            "home.html", url=str(request.base_url).rstrip("/"), people=people, cohorts=cohorts, now=project.now(),
            tokens=len(self.sandbox.apptimize.tokens()), groups=len(self.sandbox.apptimize.groups.listed()),
            faults=faults_on, receivers=len(self.sandbox.receivers.listed()), spent=project.spent(),
            limit=project.settings["hourly_limit"],
        )  # fmt: skip

    def apptimize(self, request: Request, form: dict[str, str]) -> Response:
        return RedirectResponse("/apptimize/groups", 303)

    # Tokens

    def tokens(self, request: Request, form: dict[str, str]) -> Response:
        shown = self._shown_once.pop(request.query_params.get("made", ""), None)
        return self._page("tokens.html", tokens=self.sandbox.apptimize.tokens(), made=shown)

    def new_token(self, request: Request, form: dict[str, str]) -> Response:
        return self._page("token_new.html", problem=None, name="", workspace="", limit=NAME_LIMIT)

    def generate_token(self, request: Request, form: dict[str, str]) -> Response:
        name, workspace = form.get("name", "").strip(), form.get("workspace", "").strip()[:NAME_LIMIT]
        if not name or len(name) > NAME_LIMIT:
            problem = f"Give the token a name of at most {NAME_LIMIT} characters."
            entered = {"name": name[:NAME_LIMIT], "workspace": workspace}
            return self._page("token_new.html", status=400, problem=problem, limit=NAME_LIMIT, **entered)
        key = secrets.token_urlsafe(12)
        self._shown_once[key] = (name, self.sandbox.apptimize.new_token(name, workspace))
        while len(self._shown_once) > 20:
            self._shown_once.popitem(last=False)
        return RedirectResponse(f"/apptimize/tokens?made={key}", 303)

    def ask_delete_token(self, request: Request, form: dict[str, str]) -> Response:
        tokens = [token for token in self.sandbox.apptimize.tokens() if token.id == request.path_params["id"]]
        if not tokens:
            return self._missing("That token does not exist any more.", "/apptimize/tokens", "Back to tokens")
        return self._page("token_delete.html", token=tokens[0])

    def delete_token(self, request: Request, form: dict[str, str]) -> Response:
        self.sandbox.apptimize.delete_token(request.path_params["id"])
        return RedirectResponse("/apptimize/tokens", 303)

    # Groups

    def groups(self, request: Request, form: dict[str, str]) -> Response:
        search = request.query_params.get("q", "").strip()
        listed = self.sandbox.apptimize.groups.listed()
        matching = [row for row in listed if search.casefold() in f"mixpanel: {row[0].name}".casefold()]
        return self._page("groups.html", groups=matching, total=len(listed), search=search)

    def group(self, request: Request, form: dict[str, str]) -> Response:
        groups = self.sandbox.apptimize.groups
        key = request.path_params["project"], request.path_params["cohort"]
        asked = request.query_params.get("workspace")
        group = groups.get(*key, asked or "")
        if group is None and asked is None:
            # Cohort Bridge links here without knowing of workspaces.
            group = next((other for other, _ in groups.listed() if (other.project, other.cohort) == key), None)
        if group is None:
            return self._missing("There is no such group.", "/apptimize/groups", "Back to groups")
        within = f"workspace={quote(group.workspace, safe='')}&" if group.workspace else ""
        return self._members(request, groups, group, here="groups", title=f"Mixpanel: {group.name}", within=within)

    def _members(self, request: Request, groups: Groups, group: Group, **values: Any) -> Response:
        search, number = request.query_params.get("q", "").strip(), request.query_params.get("page", "1")
        page = max(1, int(number)) if number.isdecimal() and len(number) < 8 else 1
        count, rows = groups.members(group, search=search, limit=MEMBERS_PER_PAGE, offset=(page - 1) * MEMBERS_PER_PAGE)
        total = groups.members(group, limit=0)[0] if search else count
        last = max(1, math.ceil(count / MEMBERS_PER_PAGE))
        return self._page(
            "group.html", group=group, members=rows, found=count, total=total, search=search, page=page, last=last,
            first=(page - 1) * MEMBERS_PER_PAGE + 1, **values,
        )  # fmt: skip

    # Receivers

    def receivers(self, request: Request, form: dict[str, str]) -> Response:
        """List how each receiver is connected, and what it holds."""
        receivers = self.sandbox.receivers
        listed = [(receiver, receivers.groups.listed(receiver.name)) for receiver in receivers.listed()]
        return self._page("receivers.html", url=str(request.base_url).rstrip("/"), receivers=listed)

    def received(self, request: Request, form: dict[str, str]) -> Response:
        groups, parts = self.sandbox.receivers.groups, request.path_params
        group = groups.get(parts["project"], parts["cohort"], parts["name"])
        if group is None:
            return self._missing("The receiver holds no such group.", "/sandbox/receivers", "Back to receivers")
        return self._members(request, groups, group, here="receivers", title=group.name, within="")

    def _missing(self, text: str, back: str, label: str) -> Response:
        return self._page("missing.html", status=404, text=text, back=back, label=label)

    # Faults and clock

    def faults(self, request: Request, form: dict[str, str]) -> Response:
        return self._page("faults.html", known=faults.KNOWN, on=self.sandbox.faults.listed(), problem=None)

    def switch_fault(self, request: Request, form: dict[str, str]) -> Response:
        name, act = form.pop("fault", ""), form.pop("act", "")
        try:
            if act == "clear":
                self.sandbox.faults.clear()
            else:
                self.sandbox.faults.switch(name, form if act == "on" else None)
        except ValueError as error:
            on = self.sandbox.faults.listed()
            return self._page("faults.html", status=400, known=faults.KNOWN, on=on, problem=str(error))
        return RedirectResponse("/sandbox/faults", 303)

    def move_clock(self, request: Request, form: dict[str, str]) -> Response:
        back = form.get("act") == "real"
        self.sandbox.project.set_shift(0 if back else self.sandbox.project.shift_s + 900)
        return RedirectResponse("/#clock", 303)


def _thousands(number: int) -> str:
    return f"{number:,}"


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%-d %b %Y, %H:%M} UTC"


def _machine(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
