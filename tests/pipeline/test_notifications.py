"""People are told by real servers, once, and no backup waits for a server that is dead."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message as Mail
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from iot_backup.core.alerts import Message, Told
from iot_backup.standalone import configfile
from iot_backup.standalone.config import Backup
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.notifying import channels, delivering, noticing
from iot_backup.standalone.notifying.spool import Spool
from iot_backup.standalone.records import Record
from tests.cluster.certificates import Authority
from tests.mounting import disk, fill
from tests.pipeline import manager as processes
from tests.pipeline.manager import Manager, wait_until
from tests.pipeline.worker_process import ROOT
from tests.ports import free_port

JOB = "historian"


class Hook:
    """A webhook that keeps what it gets."""

    def __init__(self, port: int = 0, answer: int = 200, moved_to: str = "", meanwhile: Callable[[], object] = lambda: None) -> None:
        """`meanwhile`: done before each answer."""
        self.got: list[dict[str, Any]] = []
        self.asked: list[str] = []
        """Paths that somebody wanted to read."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                meanwhile()
                self.send_response(answer)
                if moved_to:
                    self.send_header("Location", moved_to)
                self.end_headers()

            def do_GET(self) -> None:
                hook.asked.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def subjects(self) -> list[str]:
        """As Slack gets them."""
        return [each["text"].partition("*\n")[0].partition("] ")[2] for each in self.got]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with closing(Hook()) as made:
        yield made


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    source = tmp_path / "source"
    source.mkdir()
    (source / "reading").write_text("21.5")
    return Manager(tmp_path, f"{{local: {{path: {tmp_path / 'store'}}}}}", [{"id": JOB, "type": "full", "source": str(source)}])


def tell(manager: Manager, **notifications: Any) -> None:
    manager.notifications = json.dumps(notifications)


def slack(port: int) -> dict[str, Any]:
    return {"webhook_url": f"http://127.0.0.1:{port}/services/secret", "channel": "#ops-alerts"}


def fail(manager: Manager) -> None:
    manager.record(JOB, code=77, BACKUP_ENCRYPTION_KEY=None)


def test_a_failure_is_told_once_and_its_end_once(manager: Manager, hook: Hook) -> None:
    tell(manager, slack=slack(hook.port))
    for _ in range(2):
        fail(manager)
    wait_until("the failure is told", lambda: hook.got)
    manager.record(JOB)
    wait_until("the recovery is told", lambda: len(hook.got) == 2)
    manager.record(JOB)
    assert manager.run("notify", "deliver").code == 0
    first, second = hook.got
    assert first["channel"] == "#ops-alerts"
    assert "backup of historian failed" in first["text"]
    assert "KeyMissing" in first["text"]
    assert "works again" in second["text"]


def test_any_service_of_apprise_can_be_told(manager: Manager, hook: Hook) -> None:
    tell(manager, urls=[f"json://127.0.0.1:{hook.port}/"])
    fail(manager)
    wait_until("it is told", lambda: hook.got)
    assert hook.got[0]["title"] == "[backup default] backup of historian failed"


def test_what_nobody_wants_to_hear_is_not_told(manager: Manager, hook: Hook) -> None:
    tell(manager, slack=slack(hook.port), on=["recovery"])
    fail(manager)
    manager.record(JOB)
    wait_until("the recovery is told", lambda: hook.got)
    assert ["works again" in each["text"] for each in hook.got] == [True]


def waiting(base: Path) -> list[Path]:
    """Files of messages."""
    return sorted((base / "state" / "notices").glob("[0-9]*.json"))


def spooled(base: Path, *subjects: str, channels: Sequence[str] = ("slack",)) -> Spool:
    """The state folder's, with these messages."""
    spool = Spool(base / "state")
    spool.folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    spool.keep(
        [Message("failure", subject, "what to do", now + timedelta(seconds=n)) for n, subject in enumerate(subjects)], channels, Told()
    )
    return spool


def loaded(manager: Manager) -> Backup:
    manager.run("config", "check")
    return configfile.loaded(manager.base / "backup.yml", {})


class Mailbox:
    def __init__(self, gone: str = "") -> None:
        self.mails: list[tuple[str, Mail]] = []
        self.reached: list[list[str]] = []
        """By mail its recipients."""
        self.gone = gone

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 - as aiosmtpd calls it
        if address == self.gone:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - as aiosmtpd calls it
        self.reached.append(envelope.rcpt_tos)
        self.mails.append((session.auth_data.login.decode() if session.auth_data else "", message_from_bytes(envelope.content)))
        return "250 OK"


def test_mail_goes_through_tls_with_a_password(manager: Manager, tmp_path: Path) -> None:
    authority = Authority("an authority of our own", datetime.now(UTC))
    authority.issue("mail", hosts=["127.0.0.1"]).write(tmp_path, "mail")
    (tmp_path / "ca.pem").write_bytes(authority.pair.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "mail.crt", tmp_path / "mail.key")

    def authenticator(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(
            success=isinstance(data, LoginPassword) and (data.login, data.password) == (b"me", b"secret word"), auth_data=data
        )

    box = Mailbox()
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=authenticator,
    )
    controller.start()
    try:
        email = {
            "smtp_server": f"127.0.0.1:{controller.port}",
            "recipients": ["admin@example.com"],
            "username": "me",
            "password": "${SMTP_PASSWORD}",
        }
        tell(manager, email={**email, "tls": "starttls"})
        manager.environ |= {"SMTP_PASSWORD": "secret word", "SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        fail(manager)
        wait_until("the mail is there", lambda: box.mails)
        (login, mail), *_ = box.mails
        assert (login, mail["To"], mail["Subject"]) == ("me", "admin@example.com", "[backup default] backup of historian failed")
        del manager.environ["SSL_CERT_FILE"]
        answer = manager.run("notify", "test", "--output", "json")
        assert answer.code == 69
        assert "CERTIFICATE_VERIFY_FAILED" in answer.json["email"], "a server that nobody vouches for gets no password"
        assert len(box.mails) == 1
    finally:
        controller.stop()


def test_a_password_is_not_sent_without_tls(manager: Manager) -> None:
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        tell(
            manager,
            email={
                "smtp_server": f"127.0.0.1:{controller.port}",
                "recipients": ["a@example.com"],
                "username": "me",
                "password": "secret word",
            },
        )
        answer = manager.run("notify", "test")
        assert answer.code == 69
        assert "offers no TLS" in answer.out
        assert "secret word" not in answer.out + answer.err
    finally:
        controller.stop()


def test_a_recipient_that_is_refused_is_told_of_and_the_others_get_it_once(manager: Manager, tmp_path: Path) -> None:
    box = Mailbox(gone="gone@example.com")
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        recipients = ["ok@example.com", "gone@example.com"]
        tell(manager, email={"smtp_server": f"127.0.0.1:{controller.port}", "recipients": recipients, "tls": "none"})
        answer = manager.run("notify", "test", "--output", "json")
        assert answer.code == 69
        assert answer.json["email"].startswith("sent, but")
        assert "refused gone@example.com (550 no such user)" in answer.json["email"]
        fail(manager)
        log = tmp_path / "state" / "notices" / "problems.log"
        wait_until("it is logged", lambda: log.exists() and "gone@example.com" in log.read_text())
        wait_until("nothing waits", lambda: not waiting(tmp_path))
        assert box.reached == [["ok@example.com"], ["ok@example.com"]], "the test, and the failure"
    finally:
        controller.stop()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_webhook_that_has_moved_took_nothing(manager: Manager, status: int) -> None:
    with closing(Hook(answer=status, moved_to="/login/secret")) as hook:
        tell(manager, slack=slack(hook.port))
        answer = manager.run("notify", "test", "--output", "json")
        assert answer.code == 69
        assert f"HTTP {status}" in answer.json["slack"]
        assert "notifications.slack.webhook_url" in answer.json["slack"]
        assert "secret" not in answer.out + answer.err
        assert (len(hook.got), hook.asked) == (1, [])


@pytest.mark.parametrize("silent", [False, True], ids=["nobody listens", "it never answers"])
def test_a_dead_server_delays_no_backup_and_is_told_when_it_lives_again(manager: Manager, tmp_path: Path, silent: bool) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        if silent:
            dead.listen(8)
        port = dead.getsockname()[1]
        tell(manager, slack=slack(port))
        manager.record(JOB)
        begin = time.monotonic()
        manager.record(JOB)
        usual = time.monotonic() - begin
        begin = time.monotonic()
        fail(manager)
        assert time.monotonic() - begin < usual + 0.8 * channels.PATIENCE, "it waited for the server"
        log = tmp_path / "state" / "notices" / "problems.log"
        wait_until("it was tried", log.exists)
        assert "/services/secret" not in log.read_text()
        dead.close()
    with closing(Hook(port)) as hook:
        wait_until("the message is there", lambda: hook.got or (manager.run("notify", "deliver", "--once") and hook.got))
        assert "backup of historian failed" in hook.got[0]["text"]


def test_the_channels_can_be_tried(manager: Manager, hook: Hook) -> None:
    tell(manager, slack=slack(hook.port), urls=["nosuchthing://x"])
    answer = manager.run("notify", "test", "--output", "json")
    assert answer.code == 69
    assert answer.json["slack"] == "sent"
    assert "apprise does not know" in answer.json["urls[0]"]
    tell(manager, slack={"enabled": False})
    assert "names no channel" in manager.run("notify", "test").err


def test_a_service_looks_again_and_again(manager: Manager, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot that passed without a run, while nothing ends that could tell of it, and a message that nobody took."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "operator"))
    tell(manager, slack=slack(hook.port))
    manager.jobs[0]["schedule"] = "0 * * * *"
    manager.run("config", "check")
    file = tmp_path / "backup.yml"
    config = configfile.loaded(file, {})
    long_ago = datetime(2026, 3, 1, tzinfo=UTC)
    Journal(tmp_path / "state").add(Record(JOB, "full", "completed", "a" * 16, start_time=long_ago, end_time=long_ago))
    before, over = children(), threading.Event()

    def look() -> None:
        """One process at a time: each look starts another one as long as a message waits. None after the test, which nothing else ends."""
        if not over.is_set() and not children() - before:
            noticing.noticed(config, file, tmp_path / "state", UTC)

    noticing.again_and_again(look, 0.2)
    try:
        wait_until("it is told", lambda: hook.got)
    finally:
        over.set()
    wait_until("its process is gone", lambda: not children() - before)
    assert "backup of historian was missed" in hook.got[0]["text"]


class Dripping:
    """A server that never ends its answer, and never is silent for long."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._drip, args=(self._socket.accept()[0],), daemon=True).start()

    def _drip(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not self._ended.wait(0.1):
                client.sendall(b"x")

    def close(self) -> None:
        self._ended.set()
        self._socket.close()


def test_a_server_that_drips_its_answer_holds_up_neither_the_others_nor_the_process(
    manager: Manager, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = f"from iot_backup.standalone.notifying import delivering; delivering.LIMIT = 5; {processes._PROGRAM}"
    monkeypatch.setattr(processes, "_PROGRAM", hasty)
    with closing(Dripping()) as dripping:
        tell(manager, slack=slack(dripping.port), urls=[f"json://127.0.0.1:{hook.port}/"])
        spooled(tmp_path, "first", "second", channels=("slack", "urls[0]"))
        answer = manager.run("notify", "deliver", "--once")
    assert answer.code == 69
    assert [each["title"] for each in hook.got] == ["[backup default] first", "[backup default] second"]
    assert (tmp_path / "state" / "notices" / "problems.log").read_text().count("slack: it did not answer within 5 seconds") == 1
    assert [json.loads(file.read_text())["channels"] for file in waiting(tmp_path)] == [["slack"]] * 2


def test_who_finds_another_one_delivering_goes_away(manager: Manager, hook: Hook, tmp_path: Path) -> None:
    tell(manager, slack=slack(hook.port))
    spool = spooled(tmp_path, "first")
    with spool.alone("deliver"):
        assert manager.run("notify", "deliver").code == 69
    assert not hook.got
    assert manager.run("notify", "deliver").code == 0
    assert len(hook.got) == 1


def test_what_is_spooled_while_somebody_delivers_is_delivered_by_that_one(manager: Manager, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "state")
    ended: list[int] = []

    def meanwhile() -> None:
        if not ended:
            ended.append(0)
            spooled(tmp_path, "second")
            ended.append(manager.run("notify", "deliver").code)  # as the run does that spooled it

    with closing(Hook(meanwhile=meanwhile)) as hook:
        tell(manager, slack=slack(hook.port))
        config = loaded(manager)
        spooled(tmp_path, "first")
        assert delivering.delivered(config, tmp_path / "state", ()) == 0
        assert ended == [0, 69], "it found the lock taken"
        assert hook.subjects == ["first", "second"]
    assert not spool.waiting()


def children() -> set[str]:
    """Pids of this process's, those that ended and were not reaped, too."""
    return {stat.parent.name for stat in Path("/proc").glob("[0-9]*/stat") if parent(stat) == os.getpid()}


def parent(stat: Path) -> int | None:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile
        return None


def failed_run(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What a service does after it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "operator"))
    config, now, state = loaded(manager), datetime.now(UTC), manager.base / "state"
    Journal(state).add(Record(JOB, "full", "failed", start_time=now, end_time=now, error="StorageUnavailable: x"))
    return lambda: noticing.noticed(config, manager.base / "backup.yml", state)


def test_a_service_leaves_no_zombies(manager: Manager, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(manager, slack=slack(hook.port))
    look, before = failed_run(manager, monkeypatch), children()
    look()
    assert children() - before, "it delivers in a process of its own"
    wait_until("it is told", lambda: hook.got)
    wait_until("its process is gone", lambda: not children() - before)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_people_are_told_although_no_thread_can_be_started(manager: Manager, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    tell(manager, slack=slack(hook.port))
    look, before = failed_run(manager, monkeypatch), children()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", failing)
        look()
    wait_until("it is told", lambda: hook.got)
    wait_until("the next process reaps it", lambda: subprocess.run(["true"], check=True) and not children() - before)


@pytest.fixture
def small_state(tmp_path: Path) -> Iterator[Path]:
    """The state folder, on a disk of 256 KiB."""
    with disk(tmp_path / "state", "256k") as state:
        yield state


def test_a_failure_is_told_once_although_the_state_folder_is_full(manager: Manager, hook: Hook, small_state: Path) -> None:
    tell(manager, slack=slack(hook.port))
    manager.record(JOB)
    fill(small_state)
    for _ in range(2):
        fail(manager)
    wait_until("it is told", lambda: hook.got)
    assert "KeyMissing" in hook.got[0]["text"]
    manager.jobs[0]["source"] += "-gone"
    manager.record(JOB, code=66)
    wait_until("another reason is told", lambda: len(hook.got) > 1)
    assert "KeyMissing" not in hook.got[1]["text"]
    (small_state / "ballast").unlink()
    manager.jobs[0]["source"] = manager.jobs[0]["source"].removesuffix("-gone")
    fail(manager)
    wait_until("what is told can be kept again", (small_state / "notices" / "told.json").exists)
    wait_until("all is delivered", lambda: not waiting(small_state.parent))
    with Spool(small_state).alone("deliver"):  # whoever delivered has ended, or the disk would be busy
        assert not list((small_state / "notices").glob(".*.new"))


def test_messages_from_standard_input_are_checked(manager: Manager, hook: Hook) -> None:
    tell(manager, slack=slack(hook.port))
    answer = manager.run("notify", "deliver", "--stdin")
    assert answer.code == 64
    assert "standard input has no messages" in answer.err


def test_who_has_it_does_not_get_it_again_although_the_state_folder_is_full(
    manager: Manager, hook: Hook, small_state: Path, tmp_path: Path
) -> None:
    tell(manager, slack=slack(hook.port), urls=[f"json://127.0.0.1:{free_port()}/"])
    spooled(tmp_path, "first", "second", channels=("slack", "urls[0]"))
    fill(small_state)
    for _ in range(2):
        assert manager.run("notify", "deliver", "--once").code == 69
    assert hook.subjects == ["first", "second"]
    assert [json.loads(file.read_text())["channels"] for file in waiting(tmp_path)] == [["urls[0]"]] * 2
    assert not list((small_state / "notices").glob(".*.new"))


def test_a_process_knows_what_it_sent_although_the_spool_cannot_be_changed(
    manager: Manager, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    tell(manager, slack=slack(hook.port))
    config = loaded(manager)
    spooled(tmp_path, "first", "second")
    monkeypatch.setattr(Spool, "left", failing)
    assert delivering.delivered(config, tmp_path / "state", (0.0, 0.0), lambda _: None) == 2
    assert len(hook.got) == 2
    assert "Input/output error" in (tmp_path / "state" / "notices" / "problems.log").read_text()


def test_what_crashes_left_is_swept(manager: Manager, hook: Hook, tmp_path: Path) -> None:
    tell(manager, slack=slack(hook.port))
    folder = spooled(tmp_path, "first").folder
    old, young = folder / ".20260101T000000-00000000.json.new", folder / ".told.json.new"
    for file in (old, young):
        file.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    assert manager.run("notify", "deliver").code == 0
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize(
    ("of", "made", "left"),
    [
        (timedelta(days=4), timedelta(), 1),
        (timedelta(days=4), timedelta(days=2), 1),
        (timedelta(days=4), timedelta(days=4), 0),
        (timedelta(days=4), None, 0),
        (timedelta(), timedelta(days=-400), 1),
        (timedelta(days=20000), timedelta(days=20000), 1),
    ],
    ids=[
        "made now of an old run",
        "made lately",
        "made long ago",
        "by an earlier version",
        "made while the clock was ahead",
        "made in 1970",
    ],
)
def test_a_message_is_given_up_by_its_own_age(manager: Manager, tmp_path: Path, of: timedelta, made: timedelta | None, left: int) -> None:
    tell(manager, slack=slack(free_port()))
    config, now = loaded(manager), datetime.now(UTC)
    spool = Spool(tmp_path / "state")
    spool.folder.mkdir(parents=True)
    spool.keep([Message("failure", "first", "", now - of)], ["slack"], Told())
    (file,) = waiting(tmp_path)
    value = json.loads(file.read_text())
    value.pop("made", None)
    file.write_text(json.dumps(value | ({} if made is None else {"made": (now - made).isoformat()})))
    assert delivering.delivered(config, tmp_path / "state", ()) == left
    assert [each.made <= datetime.now(UTC) for each in spool.waiting()] == [True] * left, "else it would never be old"
    assert ("given up" in (spool.folder / "problems.log").read_text()) == (not left)
