"""A mail server on a port of this machine: it keeps what it is sent, and answers as it is told to."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage


class MailServer:
    """What arrived, and what is answered to a word of SMTP in place of yes; None: nothing, and it hangs up."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.messages = list[EmailMessage]()
        self.recipients = list[str]()
        self.answers = dict[str, bytes | None]()


@contextmanager
def mail_server() -> Generator[MailServer]:
    """Serve mail, without encryption, for as long as this lasts."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 mail\r\n")
            while line := self.rfile.readline():
                word = line.split()[0].decode().upper()
                if word == "DATA" and "DATA" not in kept.answers:
                    self.wfile.write(b"354 go on\r\n")
                    said = b"".join(iter(self.rfile.readline, b".\r\n"))
                    kept.messages.append(message_from_bytes(said, policy=policy.default))  # type: ignore[arg-type]
                    word = "."
                if word == "RCPT":
                    kept.recipients.append(line.decode().strip())
                answer = kept.answers.get(word, b"250 yes")
                if answer is None:
                    return
                self.wfile.write(answer + b"\r\n")
                if word == "QUIT":
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    kept = MailServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
