"""Which repository and which chain a job's backups belong to."""

from __future__ import annotations

from typing import Any

import pytest

from iot_backup.core import layout, spec
from iot_backup.core.spec import S3Target, VolumeTarget
from iot_backup.errors import InvalidSpec
from iot_backup.standalone import sites
from iot_backup.standalone.config import Backup, Job


def config(*jobs: dict[str, Any], storage: dict[str, Any] | None = None, site: str = "default") -> Backup:
    both = {"local": {"path": "/store"}, "s3": {"bucket": "b", "region": "eu-central-1", "prefix": "p", "endpoint": "https://minio:9000"}}
    return Backup.model_validate({"site": site, "storage": storage or both, "jobs": list(jobs)})


def only(backup: Backup, **environ: str) -> sites.Site:
    return sites.of_job(backup, backup.jobs[0], environ)


@pytest.mark.parametrize(
    ("job", "name", "label", "target"),
    [
        ({}, "default", "default@local", "/store"),
        ({"encryption": False}, "default-plain", "default-plain@local", "/store"),
        ({"storage": ["s3", "local"]}, "default", "default@s3", "b"),
        ({"storage": "local"}, "default", "default@local", "/store"),
        ({"destination": "/mnt/usb/"}, "default", "default@destination-f651802a7155", "/mnt/usb"),
    ],
)
def test_a_job_is_written_to_the_first_storage_it_names(job: dict[str, Any], name: str, label: str, target: str) -> None:
    site = only(config({"id": "a", "source": "/a", **job}))
    where = site.target.mount if isinstance(site.target, VolumeTarget) else site.target.bucket
    assert (site.name, where, site.label) == (name, target, label)
    assert layout.root(site.name, site.repository().scope) == f"site/{name}/"


def test_what_is_not_encrypted_has_a_repository_of_its_own_without_a_cipher() -> None:
    sealed, plain = (only(config({"id": "a", "source": "/a", "encryption": yes})).repository() for yes in (True, False))
    assert (sealed.encryption.algorithm, plain.encryption.algorithm) == ("Age", "None")
    assert sealed.encryption.passphrase is not None
    assert plain.encryption.passphrase is None


def test_two_destinations_are_remembered_apart() -> None:
    labels = {only(config({"id": "a", "source": "/a", "destination": path})).label for path in ("/mnt/a", "/mnt/b")}
    assert len(labels) == 2
    assert all("/" not in label for label in labels)


@pytest.mark.parametrize(("given", "expected"), [({}, True), ({"path_style": False}, False)])
def test_an_own_endpoint_is_spoken_to_by_path_unless_the_config_says_otherwise(given: dict[str, Any], expected: bool) -> None:
    s3 = {"bucket": "b", "endpoint": "https://minio:9000", **given}
    target = only(config({"id": "a", "source": "/a"}, storage={"s3": s3}), AWS_CA_BUNDLE="/ca.crt").target
    assert isinstance(target, S3Target)
    assert (target.path_style, target.ca and target.ca.key) == (expected, "AWS_CA_BUNDLE")
    assert target.access_key_id == spec.SecretSource(secret="environment variable", key="AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([{"id": "full", "type": "full"}, {"id": "inc", "type": "incremental"}], ["full", "full"]),
        ([{"id": "inc", "type": "incremental"}, {"id": "full", "type": "full"}], ["full", "full"]),
        ([{"id": "inc", "type": "incremental"}, {"id": "diff", "type": "differential"}], ["inc", "diff"]),
        ([{"id": "full", "type": "full", "chain": "all"}, {"id": "inc", "type": "incremental"}], ["all", "all"]),
        ([{"id": "full", "type": "full"}, {"id": "inc", "type": "incremental", "chain": "own"}], ["full", "own"]),
        ([{"id": "full", "type": "full"}, {"id": "inc", "type": "incremental", "source": "/other"}], ["full", "inc"]),
        ([{"id": "full", "type": "full", "encryption": False}, {"id": "inc", "type": "incremental"}], ["full", "inc"]),
        ([{"id": "full", "type": "full", "storage": "s3"}, {"id": "inc", "type": "incremental"}], ["full", "inc"]),
        ([{"id": "full", "type": "full"}, {"id": "conf", "type": "configuration"}], ["full", "conf"]),
        ([{"id": "one", "type": "full"}, {"id": "two", "type": "full"}], ["one", "one"]),
    ],
    ids=str,
)
def test_jobs_of_one_source_and_repository_share_the_first_full_jobs_chain(jobs: list[dict[str, Any]], expected: list[str]) -> None:
    backup = config(*({"source": "/a", **job} for job in jobs))
    assert [sites.chain(backup, job, {}) for job in backup.jobs] == expected


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("database-ful", "did you mean 'database-full'"),
        ("zzz", "there are: database-full, logs"),
    ],
)
def test_a_job_that_is_not_there_is_answered_with_the_nearest(asked: str, words: str) -> None:
    backup = config({"id": "database-full", "source": "/a"}, {"id": "logs", "source": "/b"})
    with pytest.raises(InvalidSpec, match=words):
        sites.job(backup, asked)


def test_repositories_of_several_jobs_are_each_named_once() -> None:
    backup = config({"id": "a", "source": "/a"}, {"id": "b", "source": "/b"}, {"id": "c", "source": "/c", "encryption": False})
    assert [site.label for site in sites.all_of(backup, {})] == ["default@local", "default-plain@local"]


def test_a_chain_of_a_job_is_part_of_object_keys() -> None:
    with pytest.raises(ValueError, match="object key"):
        Job.model_validate({"id": "a", "source": "/a", "chain": "../b"})
