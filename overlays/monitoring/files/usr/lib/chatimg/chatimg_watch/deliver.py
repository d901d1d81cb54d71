"""The ways an alert goes out: a webhook, and mail. The settings name them; secrets are files of their own."""

import contextlib
import http.client
import json
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

from chatimg_host.files import load_settings

from .spool import Alert

HOST = Path("/var/lib/chatimg/host")
TIMEOUT = 30


class NotSent(Exception):
    """An alert did not go out this way. The text names no secret."""


@dataclass(frozen=True)
class Mail:
    """Who sends, by which server, to whom."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    user: str
    password: str
    tls: str  # starttls or tls


@dataclass(frozen=True)
class Ways:
    """How this box tells its administrator."""

    hostname: str
    webhook: str = ""
    mail: Mail | None = None
    faults: tuple[str, ...] = field(default=())

    @property
    def names(self) -> list[str]:
        return [name for name, there in (("webhook", self.webhook), ("mail", self.mail)) if there]


def load(folder: Path = HOST) -> Ways:
    """Reads the host settings. They may be absent: then there is no way."""
    settings = load_settings(folder / "settings.json")
    hostname = settings.get("hostname") or socket.gethostname()
    mail, faults = mail_of(settings, secret(folder, "smtp-password"))
    return Ways(hostname, secret(folder, "alerts-webhook"), mail, faults)


def secret(folder: Path, name: str) -> str:
    try:
        return (folder / "secrets" / name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def mail_of(settings: dict, password: str) -> tuple[Mail | None, tuple[str, ...]]:
    """Mail, if the settings say all that is needed; else what they lack."""
    to = settings.get("alerts", {}).get("mail-to")
    if not to:
        return None, ()
    way = settings.get("mail")
    if not way:
        return None, ("alerts.mail-to is set, but no mail.host to send by",)
    tls = way.get("tls", "starttls")
    port = way.get("port", {"starttls": 587, "tls": 465}[tls])
    return Mail(way["host"], port, way["from"], tuple(to), way.get("user", ""), password, tls), ()


def send(way: str, ways: Ways, alert: Alert) -> None:
    """Sends one alert one way."""
    try:
        if way == "webhook":
            post(ways.webhook, payload(ways.hostname, alert))
        elif ways.mail:
            mail(ways.mail, message(ways.hostname, ways.mail, alert))
    except urllib.error.HTTPError as error:
        error.close()
        raise NotSent(f"{way}: it answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise NotSent(f"{way}: {error.reason}") from error
    except smtplib.SMTPResponseException as error:
        words = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise NotSent(f"{way}: the server answered {error.smtp_code} {words}") from error
    except (http.client.HTTPException, ValueError) as error:
        # Their texts may quote the address or the password.
        raise NotSent(f"{way}: {type(error).__name__}") from error
    except (OSError, smtplib.SMTPException) as error:
        raise NotSent(f"{way}: {type(error).__name__}: {error}") from error


def payload(hostname: str, alert: Alert) -> dict:
    """`text` is what Mattermost, Slack and Matrix bridges show; the rest is for programs."""
    return {
        "text": f"[{hostname}] {alert.subject}\n{alert.body}",
        "host": hostname,
        "subject": alert.subject,
        "body": alert.body,
        "level": alert.level,
        "key": alert.key,
        "time": int(alert.time),
    }


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An alert goes where the settings say, and nowhere else."""

    def redirect_request(self, *_args: object) -> None:
        return None


def post(address: str, value: dict) -> None:
    handlers = (
        _NoRedirect(),
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    )
    headers = {"Content-Type": "application/json", "User-Agent": "chatimg"}
    request = urllib.request.Request(address, json.dumps(value).encode(), headers, method="POST")
    with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as answer:
        answer.read(1 << 16)


def message(hostname: str, way: Mail, alert: Alert) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = " ".join(f"[{hostname}] {alert.subject}".split())
    mail["From"] = way.sender
    mail["To"] = ", ".join(way.to)
    mail["Date"] = formatdate(alert.time)
    mail["Message-ID"] = make_msgid(domain=hostname)
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(f"{alert.body}\n\n-- \n{hostname}, chatimg\n")
    return mail


def mail(way: Mail, text: EmailMessage) -> None:
    context = ssl.create_default_context()
    if way.tls == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(way.host, way.port, timeout=TIMEOUT, context=context)
    else:
        server = smtplib.SMTP(way.host, way.port, timeout=TIMEOUT)
    try:
        if way.tls == "starttls":
            server.starttls(context=context)
        if way.user:
            server.login(way.user, way.password)
        server.send_message(text)
        # It has the mail by now: a goodbye that goes wrong must not have it sent again.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            server.quit()
    finally:
        server.close()
