"""The process that Apprise works in: one message, or one look at an address, from standard input; then it ends.

Started by `core/vendors/services.py` as `python -m core.vendors.apprise_child`. It is given the message and what is
allowed, and answers in lines of JSON: `begun` before the first byte of a message leaves, and at last what came of it.
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import mimetypes
import resource
import signal
import smtplib
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import apprise
import requests  # pyright: ignore[reportMissingModuleSource]
import requests.adapters  # pyright: ignore[reportMissingModuleSource]

from core.vendors.apprise_guard import PLAIN, PROTOCOL, Guard

# What a message was answered, in the order that things were said: a status, or None where the answer was lost.
Exchanges = list[dict[str, Any]]
_MOST_MEMORY = 2**30
_library: Any = apprise  # whose types are known in part


class Watch:
    """Hears what is sent and what is answered, where the two libraries do it that Apprise speaks through."""

    def __init__(self, guard: Guard, tell: Callable[[dict[str, Any]], None]) -> None:
        self.guard, self.tell = guard, tell
        self.exchanges: Exchanges = []
        self._has_begun = False
        self._is_sent = False

    def begin(self) -> None:
        """Say, before it happens, that something of a message may arrive."""
        self._is_sent = True
        if not self._has_begun:
            self._has_begun = True
            self.tell({"begun": True})

    def put_on(self) -> None:
        """Stand between Apprise and the libraries."""
        self._watch_requests()
        self._watch_smtp()
        self._watch_own_name()

    def _watch_requests(self) -> None:
        watch, send, pass_on = self, requests.adapters.HTTPAdapter.send, http.client.HTTPConnection.send

        def sent(adapter: Any, request: Any, *args: Any, **options: Any) -> Any:
            address = urlsplit(str(request.url))
            if watch.guard.looks_only:
                watch.guard.note_host(address.hostname or "")
            if address.scheme != "https" and not watch.guard.anywhere:
                watch.guard.deny(PLAIN)
                raise requests.exceptions.ConnectionError("only https")
            if watch.guard.looks_only:
                raise requests.exceptions.ConnectionError("nothing is sent")
            watch.guard.is_speaking, watch._is_sent = True, False
            options["verify"] = True if options.get("verify") is False else options.get("verify", True)
            try:
                answer = send(adapter, request, *args, **options)
            except Exception:
                watch.exchanges.append({"status": None, "sent": watch._is_sent})
                raise
            finally:
                watch.guard.is_speaking = False
            heard = {name: answer.headers.get(name) or "" for name in ("Retry-After", "Date")}
            watch.exchanges.append({"status": answer.status_code, "sent": True, "headers": heard})
            return answer

        def passed_on(connection: Any, data: Any) -> None:
            if connection.sock is None:
                connection.connect()
            watch.begin()
            pass_on(connection, data)

        requests.adapters.HTTPAdapter.send = sent  # type: ignore[method-assign]
        http.client.HTTPConnection.send = passed_on  # type: ignore[method-assign]
        requests.Session.get_redirect_target = lambda *_: None  # type: ignore[method-assign,assignment]

    def _watch_smtp(self) -> None:
        watch = self
        connect, login, mail, data, reply = (
            smtplib.SMTP.connect, smtplib.SMTP.login, smtplib.SMTP.sendmail, smtplib.SMTP.data, smtplib.SMTP.getreply,
        )  # fmt: skip

        def connected(smtp: Any, *args: Any, **options: Any) -> Any:
            host = args[0] if args else options.get("host", "")
            watch.guard.note_host(str(host))
            watch.guard.is_speaking = True
            watch.exchanges.append({"status": None, "sent": False})
            try:
                return connect(smtp, *args, **options)
            finally:
                watch.guard.is_speaking = False

        def replied(smtp: Any) -> Any:
            answer = reply(smtp)
            last = watch.exchanges[-1]
            if (last.get("smtp") or 0) < 400:  # what follows a no is said to end politely
                last["smtp"] = answer[0]
            return answer

        def delivered(smtp: Any, message: Any) -> Any:
            watch.begin()
            told: dict[str, Any] = {"status": None, "sent": True, "smtp": None}
            watch.exchanges.append(told)
            code, said = data(smtp, message)
            told["status"] = code
            return code, said

        smtplib.SMTP.connect, smtplib.SMTP.getreply = connected, replied  # type: ignore[method-assign]
        smtplib.SMTP.data = delivered  # type: ignore[method-assign]
        smtplib.SMTP.login, smtplib.SMTP.sendmail = (
            self._only_encrypted(login),
            self._only_encrypted(mail),
        )  # type: ignore[method-assign]

    def _watch_own_name(self) -> None:
        watch, own = self, socket.getfqdn

        def own_name(*_: Any) -> str:
            watch.guard.is_asking_own_name = True
            try:
                name = own()
                return name if "." in name else "[127.0.0.1]"  # as smtplib begins where there is none
            finally:
                watch.guard.is_asking_own_name = False

        socket.getfqdn = own_name

    def _only_encrypted(self, call: Any) -> Any:
        watch = self

        def called(smtp: Any, *args: Any, **options: Any) -> Any:
            if not watch.guard.anywhere and not isinstance(smtp.sock, ssl.SSLSocket):
                watch.guard.deny(PLAIN)
                raise smtplib.SMTPException("only encrypted")
            return call(smtp, *args, **options)

        return called


def build(address: str) -> Any:
    """Build Apprise's object of an address, or None; what the address may switch on that is not for alerts is off."""
    asset = _library.AppriseAsset(
        app_id="Cohort Bridge",
        app_desc="Cohort Bridge",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        interpret_emojis=False,
        interpret_escapes=False,
        http_redirects=False,
        allow_templates=False,
        pgp_autogen=False,
        pem_autogen=False,
        storage_mode="memory",
    )
    try:
        plugin: Any = _library.Apprise.instantiate(address, asset=asset)
    except Exception:  # of 150 modules, each reads addresses in its own way
        return None
    if plugin is None or plugin.category != "native":
        return None
    plugin.verify_certificate, plugin.redirects, plugin.optional = True, False, False
    plugin.retry, plugin.wait, plugin.request_rate_per_sec = 0, 0.0, 0.0
    plugin.socket_connect_timeout, plugin.socket_read_timeout = 10.0, 15.0
    plugin.overflow_mode = _library.OverflowMode.TRUNCATE
    return plugin


def say(plugin: Any, title: str, body: str, kind: str) -> bool:
    """Have Apprise send a text, in its own way of saying it; returns whether it was accepted."""
    speaker = _library.Apprise(asset=plugin.asset)
    speaker.add(plugin)
    try:
        return bool(speaker.notify(body=body, title=title, notify_type=kind, body_format="text"))
    except Exception:
        return False


def describe(plugin: Any) -> dict[str, Any]:
    """Return what an object of Apprise's is, as far as it may be seen."""
    module = str(type(plugin).__module__)
    try:
        targets = max(1, len(plugin))
    except Exception:
        targets = 2  # not known: perhaps several
    return {
        "service": str(plugin.service_name),
        "generic": module.startswith(("apprise.plugins.custom_", "apprise.plugins.apprise_api")),
        "plain": getattr(plugin, "secure_mode", "") == "insecure",
        "targets": targets,
    }


def answer(asked: dict[str, Any], watch: Watch) -> dict[str, Any]:
    """Return what came of a message, or what was seen of an address."""
    guard = watch.guard
    plugin = build(asked["address"])
    if plugin is None:
        return {"unknown": True, "denied": guard.denied}
    about = describe(plugin)
    accepted = say(plugin, asked["title"], asked["body"], asked["kind"])
    if not (watch.exchanges or guard.hosts or guard.denied):
        # Some say nothing of what is well, and call that accepted: they would end an alert that they know nothing of.
        accepted = say(plugin, asked["title"], asked["body"], "warning")
    accepted = accepted and bool(watch.exchanges)
    if guard.looks_only and about.pop("plain") and not guard.anywhere:
        guard.denied.append(PLAIN)
    if guard.looks_only and not guard.hosts:
        guard.denied.append(PROTOCOL)
    seen = {"denied": guard.denied, "hosts": guard.hosts, "exchanges": watch.exchanges}
    return {**about, **seen, "accepted": accepted}


def main() -> None:
    """Do what standard input asks for."""
    mimetypes.init()  # reads the system's files
    logging.disable()  # its lines hold addresses
    asked = json.load(sys.stdin)
    signal.alarm(int(asked["within_s"]) + 5)  # whoever started this may be gone
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))  # an answer may be endless

    out, sys.stdout = sys.stdout, io.StringIO()  # what a module prints is no answer of ours

    def tell(told: dict[str, Any]) -> None:
        out.write(json.dumps(told) + "\n")
        out.flush()

    guard = Guard(anywhere=asked["anywhere"], looks_only=asked["looks_only"])
    watch = Watch(guard, tell)
    watch.put_on()
    guard.put_on()
    tell(answer(asked, watch))


if __name__ == "__main__":
    main()
