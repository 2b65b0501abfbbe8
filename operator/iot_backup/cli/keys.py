"""`backup-manager key ...`: ways into a repository, and writers."""

from __future__ import annotations

from pathlib import Path

import click

from iot_backup.cli.options import Setting, answered, common, identity

_storage = click.option("--storage", metavar="NAME", help="Which repository, where jobs encrypt to several: a storage, or a destination.")


@click.group()
def key() -> None:
    """Who can open the repository, and who may write to it."""


@key.command(name="list")
@_storage
@identity
@common
def list_(setting: Setting, storage: str | None, identity_file: Path | None) -> int:
    """Ways in, admitted writers, and writers that ask to be admitted."""
    from iot_backup.standalone import access, catalogue, output

    machine, brought = setting.machine(), catalogue.Key(identity_file)
    found = access.listed(access.opened(access.site(setting.config(), storage, machine), machine, brought, sealed=False)).plain()
    if setting.json:
        answered(output.as_json(found))
        return 0
    for kind in ("writers", "applicants"):
        found[kind] = [f"{each['id']} ({each['time']})" for each in found[kind]]
    answered(output.fields(found))
    return 0


@key.command()
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="AGE1...",
    help="A person's age recipient; none: the passphrase in BACKUP_ENCRYPTION_KEY_NEW.",
)
@_storage
@identity
@common
def add(setting: Setting, recipients: tuple[str, ...], storage: str | None, identity_file: Path | None) -> int:
    """Add a way in: for people's age identities, or for another passphrase."""
    from iot_backup.standalone import access, catalogue

    machine, brought = setting.machine(), catalogue.Key(identity_file)
    there = access.opened(access.site(setting.config(), storage, machine), machine, brought, sealed=True)
    return _told(setting, {"added": access.spoken(access.added(there, machine, recipients))})


@key.command()
@click.argument("way", metavar="SERIAL.WAY")
@_storage
@identity
@common
def remove(setting: Setting, way: str, storage: str | None, identity_file: Path | None) -> int:
    """Remove a way in. The key given must open another one. Who had opened the repository before may have kept its identity."""
    from iot_backup.standalone import access, catalogue

    machine, brought = setting.machine(), catalogue.Key(identity_file)
    there = access.opened(access.site(setting.config(), storage, machine), machine, brought, sealed=False)
    return _told(setting, {"removed": access.spoken(access.removed(there, machine, brought, way))})


@key.command()
@_storage
@common
def rotate(setting: Setting, storage: str | None) -> int:
    """Put the passphrase in BACKUP_ENCRYPTION_KEY_NEW in the place of the one in BACKUP_ENCRYPTION_KEY. Can be repeated."""
    from iot_backup.standalone import access, catalogue

    machine = setting.machine()
    there = access.opened(access.site(setting.config(), storage, machine), machine, catalogue.Key(), sealed=False)
    done = access.rotated(there, machine)
    return _told(setting, {"added": access.spoken(done.added), "removed": [access.spoken(file) for file in done.removed]})


@key.command()
@click.option("--recipient", "recipients", multiple=True, metavar="AGE1...", help="People who get a way into the new identity.")
@_storage
@identity
@common
def renew(setting: Setting, recipients: tuple[str, ...], storage: str | None, identity_file: Path | None) -> int:
    """Make a new identity, where the old one is known to others. New backups are sealed to it; the passphrase stays.

    Other machines that write there go on with the old one until they are run once with --trust and the fingerprint printed here.
    """
    from iot_backup.standalone import access, catalogue

    machine, brought = setting.machine(), catalogue.Key(identity_file)
    there = access.opened(access.site(setting.config(), storage, machine), machine, brought, sealed=True)
    return _told(setting, {"fingerprint": access.renewed(there, machine, recipients)})


@key.command()
@click.argument("writer")
@_storage
@identity
@common
def admit(setting: Setting, writer: str, storage: str | None, identity_file: Path | None) -> int:
    """Admit WRITER, which asked for it: its backups count from now on. Compare the id with what that machine shows."""
    from iot_backup.standalone import access, catalogue

    machine, brought = setting.machine(), catalogue.Key(identity_file)
    there = access.opened(access.site(setting.config(), storage, machine), machine, brought, sealed=True)
    return _told(setting, {"admitted": access.admitted(there, writer)})


def _told(setting: Setting, answer: dict[str, object]) -> int:
    from iot_backup.standalone import output

    answered(output.as_json(answer) if setting.json else output.fields(answer))
    return 0
