"""What a config file may say, and what is said where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from iot_backup.standalone import configfile
from iot_backup.standalone.config import Backup

SEED = Path(__file__).with_name("seed-config.yml")
HEAD = """\
backup:
  storage:
    local: {path: /var/backups/iot}
"""


def problems(text: str, **environ: str) -> list[str]:
    found, wrong = configfile.checked(text, "backup.yml", environ)
    assert (found is None) == bool(wrong)
    return [str(problem) for problem in wrong]


def loaded(text: str, **environ: str) -> Backup:
    found, wrong = configfile.checked(text, "backup.yml", environ)
    assert found is not None, wrong
    return found


def test_the_first_config_there_was_loads_as_it_is() -> None:
    backup = configfile.loaded(SEED, {})
    assert [(job.id, job.name, job.type, job.encryption) for job in backup.jobs] == [
        ("database-full", "数据库全量备份", "full", True),
        ("database-incremental", "数据库增量备份", "incremental", True),
        ("config-backup", "配置文件备份", "configuration", False),
    ]
    assert backup.site == "default"
    assert backup.storage.names == ("local", "s3", "azure")


BOTH = "backup:\n  storage: {local: {path: /x}, s3: {bucket: b}}\n  jobs:\n    - {id: one, source: /a}\n"


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (
            "storage: [s3, local]",
            [
                "backup.jobs[1].storage writes to 's3', and job 'one' copies to it",
                "backup.jobs[1].storage copies to 'local', and job 'one' writes to it",
            ],
        ),
        ("storage: s3", ["backup.jobs[1].storage writes to 's3', and job 'one' copies to it"]),
        ("storage: [local]", []),
        ("storage: [local, s3, local]", []),
        ("storage: [s3, local], encryption: false", []),
        ("destination: /x", []),
    ],
)
def test_a_repository_is_not_one_jobs_primary_and_another_ones_copy(second: str, expected: list[str]) -> None:
    """What is not encrypted is a repository of its own."""
    found = problems(f"{BOTH}    - {{id: two, source: /b, {second}}}\n")
    assert [problem.removeprefix("backup.yml:5: ").partition(": ")[0] for problem in found] == expected
    assert all(problem.endswith("let jobs that share storages have the same one first") for problem in found)


def test_the_order_of_storages_is_that_of_the_file() -> None:
    text = "backup:\n  storage:\n    azure: {container: c}\n    s3: {bucket: b}\n    local: {path: /x}\n"
    assert loaded(text).storage.names == ("azure", "s3", "local")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["backup.yml:1: the file is empty: give it a value, or remove it"]),
        ("text", ["backup.yml:1: the file must be a section with keys of its own"]),
        ("backup: [", ["backup.yml:1: the file is no YAML: expected the node content, but found '<stream end>'"]),
        ("backup:\n  site: a\0\n", ["backup.yml:2: the file holds a character that no YAML may hold (code 0): remove it"]),
        ("# \x1b[0m\nbackup: {}", ["backup.yml:1: the file holds a character that no YAML may hold (code 27): remove it"]),
        ("backup: &a\n  site: *a\n", ["backup.yml:1: the file refers to itself, or is nested too deeply"]),
        ("backup: " + 5000 * "[", ["backup.yml:1: the file refers to itself, or is nested too deeply"]),
        ("backups: {}", ["backup.yml:1: backup is missing", "backup.yml:1: backups is no key that belongs here; did you mean 'backup'?"]),
        ("backup:\n  storage: {}\n  storage: {}\n", ["backup.yml:3: backup.storage is there twice: remove one"]),
        ("backup:\n  storage:\n    lokal: {path: /x}\n", ["backup.yml:3: backup.storage.lokal is no key that belongs here; did you mean 'local'?"]),
        ("backup:\n  storage:\n    local: {path: relative}\n", ["backup.yml:3: backup.storage.local.path cannot be used: 'relative' is not an absolute path: begin it with /"]),
        ("backup:\n  storage:\n    s3:\n      region: x\n", ["backup.yml:3: backup.storage.s3.bucket is missing"]),
        (HEAD + f"  site: {'a' * 57}\n  jobs:\n    - {{id: a, source: /a, encryption: false}}\n", []),
        (HEAD + f"  site: {'a' * 63}\n  jobs:\n    - {{id: a, source: /a}}\n", []),
        (HEAD + f"  site: {'a' * 58}\n  jobs:\n    - {{id: a, source: /a, encryption: false}}\n", ["backup.yml:4: backup.site is too long for jobs without encryption, whose repository's name ends with -plain: it has at most 57 characters"]),
        (HEAD + "  site: plant-plain\n", ["backup.yml:4: backup.site must not end with -plain: that is the name of its repository without encryption"]),
        (HEAD + "  jobs:\n    - id: a\n      source: /a\n      retention_days: '30'\n", ["backup.yml:7: backup.jobs[0].retention_days must be a whole number"]),
        (HEAD + "  jobs:\n    - id: a\n      source: /a\n      enabled: maybe\n", ["backup.yml:7: backup.jobs[0].enabled must be true or false"]),
        (HEAD + "  jobs:\n    - id: a\n      source: 5\n", ["backup.yml:6: backup.jobs[0].source must be text: put it in quotes"]),
        (HEAD + "  jobs:\n    - id: a\n      source:\n", ["backup.yml:6: backup.jobs[0].source is empty: give it a value, or remove it"]),
        (HEAD + "  jobs: {a: b}\n", ["backup.yml:4: backup.jobs must be a list"]),
        (HEAD + "  jobs:\n    - just text\n", ["backup.yml:5: backup.jobs[0] must be a section with keys of its own"]),
        (
            HEAD + "  jobs:\n    - id: a\n      source: /a\n      type: incrmental\n",
            ["backup.yml:7: backup.jobs[0].type is 'incrmental', which is none of full, incremental, differential, configuration; did you mean 'incremental'?"],
        ),
        (
            HEAD + "  jobs:\n    - id: Data Base\n      source: /a\n",
            ["backup.yml:5: backup.jobs[0].id cannot be used: cannot be part of an object key: use at most 63 of a-z, 0-9, '.' and '-', begin and end with a letter or digit, no '..'"],
        ),
        (HEAD + "  jobs:\n    - {id: a, source: /a}\n    - {id: a, source: /b}\n", ["backup.yml:6: backup.jobs[1].id is 'a', like an earlier job's: each needs its own"]),
        (HEAD + "  jobs:\n    - {id: a, source: /a, storage: [s4]}\n", ["backup.yml:5: backup.jobs[0].storage names 's4', which is not in backup.storage"]),
        (HEAD + "  jobs:\n    - {id: a, source: /a, storage: lokal}\n", ["backup.yml:5: backup.jobs[0].storage names 'lokal', which is not in backup.storage; did you mean 'local'?"]),
        (HEAD + "  jobs:\n    - {id: a, source: /a, storage: []}\n", ["backup.yml:5: backup.jobs[0].storage is an empty list: name a storage, or remove it"]),
        (HEAD + "  jobs:\n    - {id: a, source: /a, storage: local, destination: /d}\n", ["backup.yml:5: backup.jobs[0].destination stands beside storage: a job has one of them"]),
        ("backup:\n  storage: {}\n  jobs:\n    - {id: a, source: /a}\n", ["backup.yml:2: backup.storage has no storage that job 'a' could use: add local, s3 or azure"]),
        (
            HEAD + "  jobs:\n    - {id: a, source: /a, schedule: 0 2 * *}\n",
            [
                "backup.yml:5: backup.jobs[0].schedule cannot be used: schedule '0 2 * *' has 4 fields. Use five fields (minute hour day month weekday), such as '30 2 * * *', or @hourly, @daily, @weekly, @monthly, @yearly."
            ],
        ),
        (
            HEAD + "  notifications:\n    slack: {webhok_url: x}\n",
            ["backup.yml:5: backup.notifications.slack.webhok_url is no key that belongs here; did you mean 'webhook_url'?"],
        ),
        (
            HEAD + "  jobs:\n    - id: a\n      source: /a\n      tipe: full\n      retention_days: 0\n    - id: b\n",
            [
                "backup.yml:7: backup.jobs[0].tipe is no key that belongs here; did you mean 'type'?",
                "backup.yml:8: backup.jobs[0].retention_days cannot be used: Input should be greater than or equal to 1",
                "backup.yml:9: backup.jobs[1].source is missing",
            ],
        ),
    ],
)  # fmt: skip
def test_everything_wrong_is_told_with_its_line_and_the_nearest_right_name(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


@pytest.mark.parametrize(
    ("value", "environ", "expected"),
    [
        ("${ROOT}/a", {"ROOT": "/srv"}, "/srv/a"),
        ("'${ROOT}'", {"ROOT": "/srv"}, "/srv"),
        ("${ROOT:-/var}/a", {}, "/var/a"),
        ("${ROOT:-/var}/a", {"ROOT": "/srv"}, "/srv/a"),
        ("/a/$ROOT/{b}", {"ROOT": "/srv"}, "/a/$ROOT/{b}"),
    ],
)
def test_values_may_refer_to_the_environment(value: str, environ: dict[str, str], expected: str) -> None:
    text = f"{HEAD}  jobs:\n    - id: a\n      source: {value}\n"
    assert loaded(text, **environ).jobs[0].source == expected


def test_a_number_from_the_environment_is_a_number() -> None:
    text = HEAD + "  jobs:\n    - {id: a, source: /a, retention_days: ${DAYS}}\n".replace("${DAYS}}", "'${DAYS}'}")
    assert problems(text, DAYS="30") == ["backup.yml:5: backup.jobs[0].retention_days must be a whole number"]
    unquoted = HEAD + "  jobs:\n    - id: a\n      source: /a\n      retention_days: ${DAYS}\n"
    assert loaded(unquoted, DAYS="30").jobs[0].retention_days == 30


def test_a_variable_that_is_not_set_is_named() -> None:
    text = HEAD + "  site: ${SITE}\n"
    assert problems(text) == [
        "backup.yml:4: backup.site refers to the environment variable SITE, which is not set: set it, or write ${SITE:-default}"
    ]
