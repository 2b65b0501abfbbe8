"""How a message reaches people: mail, a webhook as Slack's, and whatever apprise knows. Each call waits ten seconds at most for its server."""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from functools import partial

from iot_backup.core.alerts import Message
from iot_backup.standalone.config import Email, Notifications, Slack

PATIENCE = 10.0
"""Seconds."""
Send = Callable[[Message], None]
"""Raises Undelivered."""


class Undelivered(Exception):
    """Why a channel did not take a message, without anything secret."""


def names(notifications: Notifications | None) -> list[str]:
    """Of the channels that are set up."""
    return list(of(notifications, "")) if notifications else []


def of(notifications: Notifications, site: str) -> Mapping[str, Send]:
    """By name what sends there."""
    found: dict[str, Send] = {}
    email, slack = notifications.email, notifications.slack
    if email and email.enabled and email.smtp_server and email.recipients:
        found["email"] = partial(_mail, email, site)
    if slack and slack.enabled and slack.webhook_url:
        found["slack"] = partial(_post, slack, site)
    for number, url in enumerate(notifications.urls):
        found[f"urls[{number}]"] = partial(_apprise, url, site)
    return found


def _title(message: Message, site: str) -> str:
    return f"[backup {site}] {message.subject}"


def _mail(email: Email, site: str, message: Message) -> None:
    assert email.smtp_server is not None, "it is asked before"
    mail = EmailMessage()
    mail["Subject"] = _title(message, site)
    mail["From"] = email.sender or f"backup-manager@{socket.gethostname()}"
    mail["To"] = ", ".join(email.recipients)
    mail["Date"] = message.time
    mail.set_content(f"{message.body}\n\n-- \nbackup-manager on {socket.gethostname()}, site {site}\n")
    host, _, port = email.smtp_server.partition(":")
    try:
        with _connected(email, host, int(port or 0)) as server:
            server.send_message(mail)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise Undelivered(f"the mail server {email.smtp_server} did not take it: {type(error).__name__}: {_first_line(error)}") from error


def _connected(email: Email, host: str, port: int) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if email.tls == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port or 465, timeout=PATIENCE, context=context)
    else:
        server = smtplib.SMTP(host, port or (587 if email.username else 25), timeout=PATIENCE)
    try:
        _logged_in(email, server, context)
    except BaseException:
        server.close()
        raise
    return server


def _logged_in(email: Email, server: smtplib.SMTP, context: ssl.SSLContext) -> None:
    server.ehlo()
    secure = email.tls == "tls"
    if email.tls == "starttls" or (email.tls == "auto" and server.has_extn("starttls")):
        server.starttls(context=context)
        server.ehlo()
        secure = True
    if email.username:
        if not secure:
            raise smtplib.SMTPException("it offers no TLS, and a password is not sent without")
        server.login(email.username, email.password or "")


def _post(slack: Slack, site: str, message: Message) -> None:
    assert slack.webhook_url is not None, "it is asked before"
    body = {"text": f"*{_title(message, site)}*\n{message.body}"} | ({"channel": slack.channel} if slack.channel else {})
    request = urllib.request.Request(slack.webhook_url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310 - the config's pattern wants http
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):  # noqa: S310 - as above
            pass
    except (OSError, ValueError) as error:
        reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        raise Undelivered(f"the webhook did not take it: {reason}") from error  # its address is a secret


def _apprise(url: str, site: str, message: Message) -> None:
    import apprise

    socket.setdefaulttimeout(PATIENCE)
    service = apprise.Apprise()
    if not service.add(url):
        raise Undelivered(f"apprise does not know services of the kind {url.partition(':')[0]}:// (docs/backup-manager.md)")
    if not service.notify(body=message.body, title=_title(message, site)):
        raise Undelivered(f"the service at {url.partition(':')[0]}:// did not take it")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
