"""Files that browsers send: refused before they are read, unless a page waits for one, and never more than fit."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from streamlit import config
from streamlit.testing.v1 import AppTest

from core.access import audit_log, people, sign_in
from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from pages.shell import uploads
from pages.shell.uploads import MOST_OF_ALL, Offer, UploadGuard, Uploads
from tests.pages.dashboard import claims
from tests.stage.clock import FakeClock
from tests.stage.sandbox import wait_until
from tests.stage.serving import serving

MB = 2**20


@dataclass
class Stage:
    """A server that takes files as Streamlit does, in memory, and what it holds."""

    port: int
    uploads: Uploads
    kept: dict[str, int] = field(default_factory=dict[str, int])
    begun: int = 0

    def send(self, session: str = "s", body: bytes = b"", *, announced: int | None = None) -> str:
        """Send a file, or only announce one. Returns the status and the sentence of the answer."""
        with self.connect(session, announced=len(body) if announced is None else announced) as connection:
            connection.sendall(body)
            return read(connection)

    @contextmanager
    def connect(self, session: str = "s", *, announced: int | None) -> Iterator[socket.socket]:
        """Begin to send a file; in pieces when its size is not announced."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=10)) as connection:
            size = "Transfer-Encoding: chunked" if announced is None else f"Content-Length: {announced}"
            head = f"PUT /_stcore/upload_file/{session}/f HTTP/1.1\r\nHost: localhost\r\n{size}\r\n\r\n"
            connection.sendall(head.encode())
            yield connection


def read(connection: socket.socket) -> str:
    answer = HTTPResponse(connection, method="PUT")
    answer.begin()
    return f"{answer.status} {answer.read().decode().strip()}".strip()


def send_piece(connection: socket.socket, size: int) -> None:
    connection.sendall(f"{size:x}\r\n".encode() + b"x" * size + b"\r\n")


@pytest.fixture
def stage() -> Iterator[Stage]:
    held = Stage(0, Uploads())

    async def take(request: Request) -> Response:
        held.begun += 1
        held.kept[request.path_params["session"]] = len(await request.body())
        return Response(status_code=204)

    guard = Middleware(UploadGuard, uploads=held.uploads, kept=lambda: sum(held.kept.values()))
    app = Starlette(routes=[Route("/_stcore/upload_file/{session}/{file}", take, methods=["PUT"])], middleware=[guard])
    with serving(app) as held.port:
        yield held


@pytest.fixture
def small_files() -> Iterator[None]:
    config.set_option("server.maxUploadSize", 1)
    yield
    config.set_option("server.maxUploadSize", 128)


def arrive(bridge: Bridge, role: Role) -> Actor:
    people.add_person(bridge, LOCAL, "vera@example.com", role.label)
    return sign_in.admit(bridge, claims("vera@example.com"))


def test_whom_a_page_shows_its_field_may_send_a_file(stage: Stage, bridge: Bridge):
    stage.uploads.offer("s", Offer(bridge, arrive(bridge, Role.ANALYST)))

    assert stage.send(body=b"x" * 100_000) == "204"
    assert stage.kept == {"s": 100_000}


def test_the_local_admin_may_send_one_without_sign_in(stage: Stage, bridge: Bridge):
    stage.uploads.offer("s", Offer(bridge, LOCAL))

    assert stage.send(body=b"x") == "204"


def test_a_session_that_shows_no_field_is_refused_before_the_file_is_read(stage: Stage, bridge: Bridge):
    stage.uploads.offer("another", Offer(bridge, LOCAL))

    assert stage.send(announced=100 * MB).startswith("403 This page takes no file")
    with stage.connect(announced=None) as connection:
        assert read(connection).startswith("403 This page takes no file")
    assert stage.begun == 0


@pytest.mark.parametrize("what", ["viewer", "demoted", "deactivated", "signed out", "signed out everywhere", "idle"])
def test_who_may_not_associate_any_more_is_refused_whatever_the_page_still_shows(
    stage: Stage, bridge: Bridge, fake_clock: FakeClock, what: str
):
    person = arrive(bridge, Role.VIEWER if what == "viewer" else Role.ANALYST)
    assert person.person_id is not None
    stage.uploads.offer("s", Offer(bridge, person))
    if what == "demoted":
        people.change_role(bridge, LOCAL, person.person_id, "viewer")
    elif what == "deactivated":
        people.disable_person(bridge, LOCAL, person.person_id)
    elif what == "signed out":
        sign_in.sign_out(bridge, person)
    elif what == "signed out everywhere":
        people.end_my_sign_ins(bridge, person)
    elif what == "idle":
        fake_clock.shift_s += 3 * 3600

    assert stage.send(announced=100 * MB).startswith("403 ")
    assert stage.begun == 0


def test_a_refusal_stands_in_the_audit_log(stage: Stage, bridge: Bridge):
    person = arrive(bridge, Role.VIEWER)
    stage.uploads.offer("s", Offer(bridge, person))
    before = audit_log.count_audit(bridge, LOCAL)

    for _ in range(3):
        stage.send(announced=1)

    newest = audit_log.list_audit(bridge, LOCAL, limit=1)[0]
    assert (newest.who, newest.action, newest.outcome) == ("vera@example.com", "upload_file", "refused")
    assert audit_log.count_audit(bridge, LOCAL) == before + 1, "the same one again is not written each time"


def test_a_page_that_is_drawn_without_its_field_takes_no_file(bridge: Bridge):
    kept = Uploads()
    for session in ("a", "b"):
        kept.begin(session)
        kept.offer(session, Offer(bridge, LOCAL))
        assert not kept.settle(session), "it shows its field"
    kept.begin("a")
    assert asyncio.run(kept.admit("a")), "what it showed before counts until it is drawn"
    assert kept.settle("a"), "what was sent to it is forgotten now"

    with pytest.raises(uploads.UploadRefused):
        asyncio.run(kept.admit("a"))
    assert not kept.settle("a")
    assert asyncio.run(kept.admit("b")), "another session is as it was"


def draw_with_and_without_a_field() -> None:
    """Draw a page twice in one session, as `app.py` does: with a field, where a file was sent to it, and without."""
    import streamlit as st
    from streamlit.runtime.scriptrunner import get_script_run_ctx
    from streamlit.runtime.uploaded_file_manager import UploadedFileRec

    from core.access.roles import LOCAL
    from pages.shell import uploads

    context = get_script_run_ctx()
    assert context
    files = context.uploaded_file_mgr
    files.add_file(context.session_id, UploadedFileRec("f", "a.csv", "text/csv", b"x"))  # type: ignore[attr-defined]
    for shows_field in (True, False):
        with uploads.watch():
            room = uploads.offer(None, LOCAL) if shows_field else None  # type: ignore[arg-type]
        st.text(f"{len(files.get_files(context.session_id, ['f']))} {room}")


def test_what_was_sent_is_forgotten_once_the_page_shows_no_field():
    at = AppTest.from_function(draw_with_and_without_a_field).run()

    assert [text.value for text in at.text] == ["1 True", "0 None"]


def test_a_file_that_is_too_large_is_refused_by_what_is_announced_or_as_it_comes(
    stage: Stage, bridge: Bridge, small_files: None
):
    stage.uploads.offer("s", Offer(bridge, LOCAL))

    assert stage.send(announced=3 * MB) == "413 The file is larger than 1 MB: split it."
    assert stage.begun == 0
    with stage.connect(announced=None) as connection:
        for _ in range(2):
            send_piece(connection, MB)
        send_piece(connection, 1)
        assert read(connection) == "413 The file is larger than 1 MB: split it."
    assert stage.kept == {}
    assert stage.send(body=b"x" * MB) == "204", "the room is free again"


def test_all_files_together_have_a_limit_those_on_their_way_among_them(stage: Stage, bridge: Bridge):
    for session in "abcde":
        stage.uploads.offer(session, Offer(bridge, LOCAL))
    stage.kept["kept before"] = MOST_OF_ALL - 250 * MB
    with stage.connect("a", announced=128 * MB) as first, stage.connect("b", announced=120 * MB) as second:
        for connection in (first, second):
            connection.sendall(b"x")
        wait_until(lambda: stage.begun == 2)
        assert stage.send("c", announced=3 * MB).startswith("503 Other files take all the room")
        with stage.connect("d", announced=None) as third:
            send_piece(third, MB)
            send_piece(third, MB)
            send_piece(third, 1)
            assert read(third).startswith("503 Other files take all the room")
        assert stage.send("e", body=b"x" * MB) == "204", "what fits is taken"
    wait_until(lambda: stage.uploads.room(0) == MOST_OF_ALL)
    assert stage.send("c", body=b"x" * (3 * MB)) == "204", "who went away leaves their room"


def test_a_session_sends_one_file_at_a_time(stage: Stage, bridge: Bridge, monkeypatch: pytest.MonkeyPatch):
    for session in "ab":
        stage.uploads.offer(session, Offer(bridge, LOCAL))
    monkeypatch.setattr(uploads, "_OTHER_ENDS_WITHIN_S", 0.2)
    with stage.connect("a", announced=2) as first:
        first.sendall(b"x")
        wait_until(lambda: stage.begun == 1)
        assert stage.send("a", announced=1).startswith("409 Another file of this page is on its way")
        assert stage.send("b", body=b"x") == "204", "another session does not wait"
        first.sendall(b"x")
        assert read(first) == "204"


def test_a_file_that_is_chosen_instead_waits_until_the_first_is_broken_off(stage: Stage, bridge: Bridge):
    stage.uploads.offer("a", Offer(bridge, LOCAL))
    with stage.connect("a", announced=2) as first:
        first.sendall(b"x")
        wait_until(lambda: stage.begun == 1)
        with stage.connect("a", announced=3) as second:
            second.sendall(b"new")
            first.close()
            assert read(second) == "204"
    assert stage.kept == {"a": 3}


def test_a_file_of_which_nothing_more_comes_gives_its_room_back(
    stage: Stage, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
):
    stage.uploads.offer("a", Offer(bridge, LOCAL))
    monkeypatch.setattr(uploads, "_NOTHING_COMES_S", 0.2)
    with stage.connect("a", announced=2) as connection:
        connection.sendall(b"x")
        assert read(connection).startswith("408 Nothing more of the file came")

    assert stage.uploads.room(0) == MOST_OF_ALL
    assert stage.kept == {}


def test_visits_that_end_without_a_word_do_not_fill_the_memory(bridge: Bridge):
    kept = Uploads()
    for number in range(3000):
        kept.offer(str(number), Offer(bridge, LOCAL))
        kept.settle(str(number))

    assert asyncio.run(kept.admit("2999"))
    with pytest.raises(uploads.UploadRefused):
        asyncio.run(kept.admit("0"))
