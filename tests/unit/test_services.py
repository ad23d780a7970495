"""Services that Apprise speaks to: what it may do in its process, the words it sends, and what came of them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from core.errors import SettingsError
from core.vendors import notices, notifiers, services
from core.vendors.apprise_guard import Guard
from core.vendors.notices import Notice
from core.vendors.notifiers import SERVICE, NotifyFailed, NotifyRefused, NotifyUndecided
from core.vendors.services import Spoken
from tests.stage.certificates import make_certificate
from tests.stage.mail import MailServer, mail_server
from tests.stage.processes import ROOT, clean_environment
from tests.stage.seeds import LONG, some
from tests.stage.webhooks import Webhook, webhook
from tests.unit.test_notices import NOTICE

pytestmark = some(30)

# Looks at addresses one after the other in one process, which is held as that of a message is.
LOOK = """
import json, mimetypes, sys
from core.vendors.apprise_child import Guard, Watch, answer
asked = json.load(sys.stdin)
mimetypes.init()
guard = Guard(anywhere=False, looks_only=True)
watch = Watch(guard, lambda told: None)
watch.put_on()
guard.put_on()
seen = {}
for address in asked:
    guard.denied, guard.hosts, watch.exchanges = [], [], []
    seen[address] = answer({"address": address, "title": "x", "body": "x", "kind": "info"}, watch)
print(json.dumps(seen))
"""
# Has messages said, and keeps what would go out over HTTPS: the network's own end is played here.
SAY = """
import json, sys
import requests
sent = []
def answered(adapter, request, **options):
    sent.append(str(request.body if isinstance(request.body, str) else (request.body or b"").decode()))
    response = requests.Response()
    said = b"ok" if "slack" in str(request.url) else b'{"ok": true}'
    response.status_code, response._content, response.request = 200, said, request
    return response
requests.adapters.HTTPAdapter.send = answered
from core.vendors.apprise_child import Guard, Watch, answer
asked = json.load(sys.stdin)
guard = Guard(anywhere=False, looks_only=False)
watch = Watch(guard, lambda told: None)
watch.put_on()
guard.put_on()
said = {}
for address in asked["addresses"]:
    guard.denied, guard.hosts, watch.exchanges, sent[:] = [], [], [], []
    came = answer({"address": address, **asked["message"]}, watch)
    said[address] = {"accepted": came["accepted"], "sent": list(sent)}
print(json.dumps(said))
"""

# Has every service that there is send to a place of this machine, and counts who got there.
EVERY = """
import json, logging, mimetypes, socket, sys, threading
from apprise.manager_plugins import NotificationManager
from core.vendors.apprise_child import Guard, Watch, build, say
logging.disable()
look_up, arrived, building = socket.getaddrinfo, [], []
def of_this_machine(host, *args, **options):
    if host not in ("127.0.0.1", "localhost"):
        raise socket.gaierror(socket.EAI_NONAME, "nobody else is asked")
    return look_up(host, *args, **options)
socket.getaddrinfo = of_this_machine
server = socket.create_server(("127.0.0.1", 0))
def take():
    while True:
        server.accept()[0].close()
        arrived.append(building[-1])
threading.Thread(target=take, daemon=True).start()
port = server.getsockname()[1]
mimetypes.init()
guard = Guard(anywhere=False, looks_only=False)
watch = Watch(guard, lambda told: None)
watch.put_on()
guard.put_on()
names = sorted(NotificationManager().schemas())
counts = {"services": len(names)}
forms = json.load(sys.stdin)
for anywhere in (False, True):
    guard.anywhere = anywhere
    for name in names:
        building.append(name)
        for form in forms:
            plugin = build(form.format(name=name, port=port))
            if plugin is not None:
                say(plugin, "x", "x", "failure")
    counts[str(anywhere)] = len(set(arrived))
print(json.dumps(counts))
"""
SLACK = "slack://TXXXXXXXX/BXXXXXXXX/CCCCCCCCCCCCCCCCCCCCCCCC/#general"
DISCORD = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
TELEGRAM = "tgram://123456789:abcdefg_hijklmnop/12315544/"
TEAMS = "workflows://prod.example.logic.azure.com:443/643e69f83c8944438d68119179a10a64/4PPBH4hPrHpcyDdVNcHbgIvRJS"
PAGERDUTY = "pagerduty://IntegrationKeyxxxxxxxxxxxxxxxxxx@apikeyxx"
MAIL = "mailtos://user:s3cret@mail.example?to=ops@company.example&from=bridge@mail.example"
TAKEN = {
    SLACK: "hooks.slack.com",
    "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX": "hooks.slack.com",
    DISCORD: "discord.com",
    TELEGRAM: "api.telegram.org",
    TEAMS: "prod.example.logic.azure.com",
    PAGERDUTY: "events.pagerduty.com",
    "opsgenie://a0b1c2d3-e4f5-a6b7-c8d9-e0f1a2b3c4d5": "api.opsgenie.com",
    MAIL: "mail.example",
    "ntfys://inside.example/topic": "inside.example",
}
FILES = str(Path(__file__).resolve())
NOT_TAKEN = {
    "irc://u@irc.example/#x": "protocol",
    "ircs://u@irc.example/#x": "protocol",
    "rsyslog://127.0.0.1": "protocol",
    "mailto://user:s3cret@mail.example?to=ops@company.example&mode=insecure": "plain",
    "ntfy://inside.example/topic": "plain",
    "gotify://inside.example/abcdefg": "plain",
    f"{TEAMS}?template={FILES}": "file",
    f"{DISCORD}?template={FILES}": "file",
}
UNKNOWN = [
    "syslog://", "dbus://", "gnome://", "macosx://", "windows://", "glib://", "file:///etc/passwd", "nonsense://x",
    "growl://127.0.0.1", "mqtt://inside.example/topic", "include:///etc/passwd", "", "x", "://", "http:/",
]  # fmt: skip


def in_a_process(code: str, asked: Any, env: Mapping[str, str] | None = None) -> Any:
    ended = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": str(ROOT), **(env or {})},
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@cache
def looked_at() -> dict[str, Any]:
    return in_a_process(LOOK, [*TAKEN, *NOT_TAKEN, *UNKNOWN, "json://127.0.0.1/x", "apprise://127.0.0.1/token"])


@pytest.mark.parametrize(("address", "host"), TAKEN.items())
def test_a_service_is_known_by_whom_it_would_connect_to(address: str, host: str):
    seen = looked_at()[address]

    assert (seen["hosts"], seen["denied"], seen["generic"]) == ([host], [], False)


def test_a_service_is_known_where_python_packs_what_it_imports(tmp_path: Path):
    packed = tmp_path / "packed"

    seen = in_a_process(LOOK, [SLACK], {"PYTHONPYCACHEPREFIX": str(packed), "PYTHONDONTWRITEBYTECODE": ""})[SLACK]

    assert (seen["hosts"], seen["denied"]) == (["hooks.slack.com"], [])
    assert list(packed.rglob("apprise_guard*.pyc"))
    assert not list(packed.rglob("slack*.pyc")), "nothing is written once it is held"


@pytest.mark.parametrize(("address", "why"), NOT_TAKEN.items())
def test_what_would_do_more_than_send_a_message_is_not_taken(address: str, why: str):
    assert why in looked_at()[address]["denied"]


def test_what_is_of_this_machine_or_of_nobody_is_not_known():
    assert [address for address in UNKNOWN if not looked_at()[address].get("unknown")] == []


def test_what_only_passes_on_to_an_address_is_told_from_a_service():
    assert looked_at()["json://127.0.0.1/x"]["generic"]
    assert looked_at()["apprise://127.0.0.1/token"]["generic"]


# --- what is held --------------------------------------------------------------------------------------------------


def connecting(guard: Guard, address: str) -> None:
    guard.is_speaking = True
    guard.check_connect((None, (address, 443)))


@LONG
def test_no_service_that_there_is_reaches_a_place_inside_the_house():
    """Nor any that a later release brings; where such places are allowed, many do."""
    forms = [
        "{name}://127.0.0.1:{port}/aaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbb",
        "{name}://user:password@localhost:{port}/aaaaaaaaaa/15551234567?to=a@b.example&from=a@b.example&smtp=127.0.0.1",
    ]

    counts = in_a_process(EVERY, forms)

    assert counts["services"] > 200
    assert counts["False"] == 0
    assert counts["True"] > 30


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1", "localhost", ""],
)
def test_only_a_number_of_the_internet_is_connected_to(address: str):
    guard = Guard(anywhere=False, looks_only=False)

    with pytest.raises(PermissionError):
        connecting(guard, address)
    assert guard.denied == ["place"]
    connecting(guard, "1.1.1.1")
    connecting(guard, "2606:4700:4700::1111")


@pytest.mark.parametrize(
    ("event", "details", "why"),
    [
        ("socket.connect", (None, ("1.1.1.1", 443)), "protocol"),  # neither HTTPS nor SMTP does it
        ("socket.connect", (None, "/run/docker.sock"), "protocol"),
        ("socket.__new__", (None, socket.AF_UNIX, socket.SOCK_STREAM, 0), "protocol"),
        ("socket.__new__", (None, socket.AF_INET, socket.SOCK_DGRAM, 0), "protocol"),
        ("socket.sendto", (None, ("1.1.1.1", 514)), "protocol"),
        ("socket.bind", (None, ("0.0.0.0", 0)), "protocol"),
        ("syslog.syslog", (0, "x"), "protocol"),
        ("subprocess.Popen", ("sh", [], None, None), "program"),
        ("os.system", (b"x",), "program"),
        ("os.posix_spawn", ("x", [], {}), "program"),
        ("open", ("/etc/passwd", "r", 0), "file"),
        ("open", (str(ROOT / "var" / "secret.key"), "r", 0), "file"),
        ("open", (f"{json.__file__}/../../../../../../etc/passwd", "r", 0), "file"),
        ("open", (json.__file__, "w", os.O_WRONLY), "file"),
        ("os.remove", (json.__file__, -1), "file"),
        ("os.mkdir", ("x", 511, -1), "file"),
    ],
)
def test_nothing_else_is_done(event: str, details: tuple[Any, ...], why: str):
    guard = Guard(anywhere=True, looks_only=False)
    guard.find_roots()

    with pytest.raises(PermissionError):
        guard.hear(event, details)
    assert guard.denied == [why]


def test_a_module_of_the_program_is_read():
    guard = Guard(anywhere=False, looks_only=False)
    guard.find_roots()

    guard.hear("open", (json.__file__, "r", 0))


# --- entering an address -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("gotifys://127.0.0.1/abcdefg", "private address"),
        ("mailtos://u:s3cret@mail.example?smtp=169.254.169.254&to=a@b.example", "private address"),
        ("jsons://93.184.216.34/x", "by its own address"),
        ("mailtos://u:pass@s3cret@mail.example?to=a@b.example", "no server has the name"),
        ("gotifys://s3cret/x", "no server has the name"),
    ],
)
def test_an_address_of_a_service_is_checked_when_it_is_entered(address: str, said: str):
    with pytest.raises(SettingsError, match=f"^Address: .*{said}") as raised:
        asyncio.run(notifiers.identify(address, allow_private=False))

    assert "s3cret" not in f"{raised.value.message} {raised.value.advice}"


# --- the words -----------------------------------------------------------------------------------------------------

HOSTILE = Notice(
    title="Sync failing: <!channel> @everyone",
    lines=(
        "<!here|x> <@U012AB3CD> [free](https://evil.example/x) <https://evil.example|Mixpanel> www.evil.example",
        "<b>bold</b> <script>alert(1)</script> **x** `code` <at>All</at> &lt;!channel&gt;",
    ),
    link="https://bridge.example/export/syncs?sync=3",
    severity="critical",
    event="sync_failing",
    at=NOTICE.at,
    id="1",
)


def test_no_service_is_sent_a_mention_a_link_or_markup_out_of_a_name():
    notice = notices.bounded(HOSTILE)
    message = {"title": notices.plain(notice.title), "body": notices.as_text(notice), "kind": "failure"}

    said = in_a_process(SAY, {"addresses": [SLACK, DISCORD, TELEGRAM, TEAMS, PAGERDUTY], "message": message})

    for came in said.values():
        assert (came["accepted"], len(came["sent"])) == (True, 1)
        words = came["sent"][0].replace("\\", "").replace("&amp;", "&")
        assert "Sync failing" in words
        assert "bridge.example/export/syncs?sync" in words
        for acting in ("<!", "<@", "@everyone", "](http", "evil.example", "<script", "<at>", "**x", "&lt;!channel"):
            assert acting not in words


# --- over the network, for real ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served() -> Generator[Webhook]:
    with webhook() as there:
        yield there


@pytest.fixture(scope="module")
def mail() -> Generator[MailServer]:
    with mail_server() as there:
        yield there


def send(address: str, *, allow_private: bool = True, within_s: float = 20.0, notice: Notice = NOTICE) -> None:
    asyncio.run(notifiers.notify(SERVICE, address, notice, allow_private=allow_private, within_s=within_s))


def mail_to(server: MailServer, more: str = "") -> str:
    return f"mailto://mail.example:{server.port}?smtp=127.0.0.1&from=bridge@mail.example&to=ops@company.example{more}"


def test_a_mail_is_plain_text_with_one_line_of_a_subject(mail: MailServer):
    hostile = Notice("A\r\nBcc: x@y.example\n\nbody", ("<b>1 & 2</b>",), None, "critical", "e", NOTICE.at, "1")

    send(mail_to(mail, "&format=text"), notice=hostile)

    message = mail.messages[-1]
    assert message["Subject"] == "A Bcc: x＠y․example body"
    assert message["Bcc"] is None
    assert [part.get_content_type() for part in message.walk() if not part.is_multipart()] == ["text/plain"]
    assert message.get_content().strip() == "＜b＞1 & 2＜/b＞"


def test_what_a_mail_server_answers_decides_what_becomes_of_a_mail(mail: MailServer):
    for word, answer, error in (
        ("RCPT", b"550 no such person", pytest.raises(NotifyRefused, match="550")),
        (".", b"451 later", pytest.raises(NotifyFailed, match="451")),
        (".", None, pytest.raises(NotifyUndecided)),
    ):
        mail.answers = {word: answer}
        with error:
            send(mail_to(mail))
    mail.answers = {}


def test_a_redirect_is_not_followed_and_certificates_cannot_be_left_unchecked(served: Webhook):
    served.posted.clear()
    served.status, served.answer_headers = 307, {"Location": f"http://127.0.0.1:{served.port}/inside"}

    with pytest.raises(NotifyRefused, match="elsewhere"):
        send(f"gotify://127.0.0.1:{served.port}/abcdefg?redirect=yes&verify=no&retry=5")

    assert [posted.path for posted in served.posted] == ["/message"]


def test_a_certificate_that_is_not_trusted_is_not_accepted_whatever_the_address_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate = make_certificate(tmp_path, "localhost")
    with webhook(certificate) as hook:
        with pytest.raises(NotifyFailed, match="could not be reached"):
            send(f"gotifys://localhost:{hook.port}/abcdefg?verify=no")
        assert hook.posted == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        send(f"gotifys://localhost:{hook.port}/abcdefg")

        assert [posted.json["title"] for posted in hook.posted] == ["Sync failing: Buyers"]


def test_nothing_inside_the_house_is_connected_to_whatever_was_checked_before(served: Webhook):
    served.posted.clear()

    with pytest.raises(NotifyRefused, match="private address"):
        send(f"gotifys://localhost:{served.port}/abcdefg", allow_private=False)

    assert served.posted == []


def test_what_hangs_is_ended_with_its_process_and_its_fate_is_not_known(served: Webhook):
    served.status, begun = None, time.monotonic()

    with pytest.raises(NotifyUndecided):
        send(f"gotify://127.0.0.1:{served.port}/abcdefg", within_s=4.0)

    assert time.monotonic() - begun < 10


def test_where_no_process_can_be_started_a_message_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))

    with pytest.raises(NotifyFailed):
        send(DISCORD)


# --- what came of it -----------------------------------------------------------------------------------------------


def http(status: int | None, *, sent: bool = True, **headers: str) -> dict[str, Any]:
    return {"status": status, "sent": sent, "headers": headers}


@pytest.mark.parametrize(
    ("spoken", "fate"),
    [
        (Spoken(ended=True, accepted=True, exchanges=(http(200),)), "accepted"),
        (Spoken(ended=True, exchanges=(http(404),)), "refused"),
        (Spoken(ended=True, exchanges=(http(302),)), "refused"),
        (Spoken(ended=True, exchanges=(http(200),)), "refused"),  # a no within a yes, as Slack says it
        (Spoken(ended=True, exchanges=(http(200), http(500))), "failed"),  # signed in, then not taken
        (Spoken(ended=True, exchanges=(http(429, **{"Retry-After": "30"}),)), "failed"),
        (Spoken(ended=True, exchanges=(http(None, sent=False),)), "failed"),
        (Spoken(ended=True, exchanges=(http(None),)), "undecided"),
        (Spoken(ended=True, exchanges=(http(504),)), "undecided"),
        (Spoken(ended=True, targets=2, exchanges=(http(524), http(500))), "undecided"),
        (Spoken(ended=True, targets=2, exchanges=(http(200), http(500))), "undecided"),
        (Spoken(ended=True, targets=2, exchanges=(http(500), http(500))), "failed"),
        (Spoken(ended=True, denied=("place",)), "refused"),
        (Spoken(ended=True), "refused"),
        (Spoken(unknown=True, ended=True), "refused"),
        (Spoken(begun=True), "undecided"),
        (Spoken(), "failed"),
    ],
)
def test_what_may_have_arrived_is_never_to_be_sent_again(spoken: Spoken, fate: str):
    assert services.judge(spoken).what == fate


def test_a_service_that_asks_to_wait_is_waited_for():
    assert services.judge(Spoken(ended=True, exchanges=(http(429, **{"Retry-After": "30"}),))).retry_after_s == 30
