"""How a message reaches people: mail, a webhook as Slack's, and whatever apprise knows. Ten seconds for each answer of a server: one that drips its bytes is
stopped by whoever calls."""

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
Send = Callable[[Message], str]
"""Gives what is to be said of a message that was sent, such as who did not get it; mostly nothing. Raises Undelivered."""


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


def _mail(email: Email, site: str, message: Message) -> str:
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
            refused = server.send_message(mail)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise Undelivered(f"the mail server {email.smtp_server} did not take it: {type(error).__name__}: {_first_line(error)}") from error
    # It is no failure: to send it again would reach those once more who have it. All of them refused is an error of smtplib's.
    return f"but the mail server {email.smtp_server} refused {_who(refused)}" if refused else ""


def _who(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return ", ".join(
        f"{recipient} ({code} {_first_line(answer.decode(errors='replace'))})" for recipient, (code, answer) in refused.items()
    )


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


def _post(slack: Slack, site: str, message: Message) -> str:
    assert slack.webhook_url is not None, "it is asked before"
    body = {"text": f"*{_title(message, site)}*\n{message.body}"} | ({"channel": slack.channel} if slack.channel else {})
    request = urllib.request.Request(slack.webhook_url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310 - the config's pattern wants http
    try:
        with urllib.request.build_opener(_Unmoved).open(request, timeout=PATIENCE):
            return ""
    except (OSError, ValueError) as error:
        reason = _status(error.code) if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        raise Undelivered(f"the webhook did not take it: {reason}") from error  # its address is a secret


class _Unmoved(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would ask for the new place by GET, without the message, and call that a success."""

    def redirect_request(self, *_: object) -> None:
        return None


def _status(code: int) -> str:
    """Neither the address nor the one that it leads to: both are secrets."""
    moved = ", it has moved: write its new address into notifications.slack.webhook_url" if 300 <= code < 400 else ""
    return f"HTTP {code}{moved}"


def _apprise(url: str, site: str, message: Message) -> str:
    import apprise

    socket.setdefaulttimeout(PATIENCE)
    service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))  # a pool's threads would be waited for at this process's end
    if not service.add(url):
        raise Undelivered(f"apprise does not know services of the kind {url.partition(':')[0]}:// (docs/backup-manager.md)")
    if not service.notify(body=message.body, title=_title(message, site)):
        raise Undelivered(f"the service at {url.partition(':')[0]}:// did not take it")
    return ""


def _first_line(error: BaseException | str) -> str:
    return (str(error).splitlines() or [""])[0][:200]
