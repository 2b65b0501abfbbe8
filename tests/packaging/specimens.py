"""Objects of ours, good and bad: the API server and the models judge the same ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

API_VERSION = "backup.iot-system.io/v1alpha1"
RECIPIENT = "age1" + "q" * 58
TYPES = ("Full", "Incremental", "Differential", "Configuration")

S3 = {"bucket": "plant-backups", "credentialsSecretRef": {"name": "backup-secrets"}}
PASSPHRASE = {"secretRef": {"name": "backup-secrets", "key": "encryption-passphrase"}}
SOURCE = {"volume": {"claimName": "sensor-data"}}

MINIMAL: dict[str, dict[str, Any]] = {
    "BackupStorage": {"s3": S3, "encryption": PASSPHRASE},
    "BackupJob": {"storageRef": {"name": "primary"}, "source": SOURCE},
    "Backup": {"jobRef": {"name": "daily"}},
    "RestoreJob": {"backupRef": {"name": "daily-1"}, "target": {"claimName": "sensor-data"}},
}
"""The least that each kind accepts."""


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()
"""As a value in `spec(...)`: leave the field out."""


def body(kind: str, spec: dict[str, Any], *, name: str = "specimen", namespace: str = "default") -> dict[str, Any]:
    """A whole object."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def spec(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The kind's minimal spec with `changes`, each a dotted path and its value."""
    result: dict[str, Any] = copy.deepcopy(MINIMAL[kind])
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            place.pop(last, None)
        else:
            place[last] = value
    return result


AS_OF = {"backupRef": ABSENT, "backupJobRef": {"name": "daily"}, "asOf": "2026-11-24T18:00:00Z"}


@dataclass(frozen=True)
class Accepted:
    kind: str
    what: str
    changes: dict[str, Any]


@dataclass(frozen=True)
class Rejected:
    """`says` is part of the API server's sentence; where one of our rules speaks, the model says the same."""

    kind: str
    what: str
    changes: dict[str, Any]
    says: str
    rule: bool = True
    """False where the schema itself refuses, in words of its own, and the model in others."""


ACCEPTED = (
    *(Accepted(kind, "the least it needs", {}) for kind in MINIMAL),
    Accepted("BackupStorage", "a volume", {"s3": ABSENT, "volume": {"claimName": "disk", "path": "a b/ü.d", "group": 0}}),
    Accepted("BackupStorage", "recipients only", {"encryption": {"recipients": [RECIPIENT]}}),
    Accepted("BackupStorage", "passphrase and recipients", {"encryption.recipients": [RECIPIENT]}),
    Accepted("BackupStorage", "openly nothing", {"encryption": {"algorithm": "None"}}),
    Accepted("BackupStorage", "AES for its cipher", {"encryption.algorithm": "AES256"}),
    Accepted("BackupStorage", "AES for recipients", {"encryption": {"algorithm": "AES256", "recipients": [RECIPIENT]}}),
    Accepted("BackupStorage", "a fingerprint", {"encryption.fingerprint": "0" * 64}),
    Accepted(
        "BackupStorage",
        "a server of one's own",
        {"s3.endpoint": "https://minio.minio.svc:9000", "s3.prefix": "a/b.c", "s3.pathStyle": True},
    ),
    Accepted("BackupStorage", "an IPv6 server", {"s3.endpoint": "http://[fd00::1]:9000/"}),
    Accepted("BackupJob", "a schedule", {"schedule": "*/5 0-6,22 * JAN-MAR ?"}),
    Accepted("BackupJob", "a word for a schedule", {"schedule": "@daily"}),
    Accepted("BackupJob", "a time zone", {"schedule": "30 2 * * *", "timeZone": "America/Argentina/Buenos_Aires"}),
    Accepted(
        "BackupJob",
        "several schedules",
        {
            "schedules": [
                {"name": "nightly", "schedule": "0 2 * * *", "timeZone": "Europe/Berlin"},
                {"name": "noon", "schedule": "0 12 * * *"},
            ]
        },
    ),
    *(Accepted("BackupJob", f"type {type_}", {"type": type_}) for type_ in TYPES),
    Accepted(
        "BackupJob",
        "a type of their own for schedules",
        {
            "type": "Incremental",
            "schedules": [
                {"name": "weekly", "schedule": "0 3 * * SUN", "type": "Full"},
                {"name": "daily", "schedule": "0 3 * * MON-SAT", "type": "Differential"},
            ],
        },
    ),
    Accepted("BackupJob", "a chain of its own length", {"chain": "database", "maxChainLength": 100}),
    Accepted(
        "BackupJob",
        "a part of the volume",
        {
            "source.volume.include": ["/config/", "*.db", "# 注释", "a\tb"],
            "source.volume.exclude": ["**/cache", "!keep", "x" * 1024],
            "source.volume.oneFileSystem": True,
        },
    ),
    Accepted("BackupJob", "64 lines", {"source.volume.exclude": ["a"] * 64}),
    Accepted("BackupJob", "dotted names", {"chain": "a.b-c", "source.volume.path": "var/..hidden/x.."}),
    Accepted("BackupJob", "durations", {"timeout": "1h30m", "startDeadline": "90s"}),
    Accepted("BackupJob", "root", {"worker": {"identity": "Root", "securityContext": {"runAsGroup": 0}}}),
    Accepted(
        "BackupJob",
        "a whole worker",
        {
            "worker": {
                "resources": {"requests": {"cpu": "100m", "memory": "1.5Gi"}, "limits": {"cpu": 2, "memory": "1e9"}},
                "securityContext": {
                    "runAsUser": 999,
                    "supplementalGroups": [0, 3000],
                    "fsGroup": 999,
                    "seLinuxOptions": {"level": "s0:c1,c2"},
                },
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [{"key": "edge", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
                "priorityClassName": "low",
                "bandwidthLimit": "10Mi",
                "podLabels": {"team": "plant-1", "example.com/app.kubernetes.io": "x", "empty": ""},
                "podAnnotations": {"sidecar.istio.io/inject": "false"},
            }
        },
    ),
    *(Accepted("Backup", f"type {type_}", {"type": type_}) for type_ in TYPES),
    Accepted("RestoreJob", "the latest of a job", {"backupRef": ABSENT, "backupJobRef": {"name": "daily"}, "latest": True}),
    Accepted("RestoreJob", "the state at a time", {**AS_OF, "asOf": "2026-11-24T18:00:00.500+01:00", "acceptNewest": True}),
    Accepted("RestoreJob", "a part", {"type": "Selective", "include": ["/config/"], "exclude": ["*.tmp", "!keep.tmp"]}),
    Accepted("RestoreJob", "all but a part", {"type": "Selective", "exclude": ["/logs/"]}),
    *(Accepted("RestoreJob", f"onConflict {what}", {"onConflict": what}) for what in ("KeepNewer", "SkipExisting", "Mirror")),
    Accepted("RestoreJob", "a plan", {"mode": "Plan", "onConflict": "Mirror"}),
    Accepted("RestoreJob", "an archive", {"backupRef": ABSENT, "storageRef": {"name": "primary"}, "archive": "0f1e2d3c4b5a6978"}),
    Accepted("RestoreJob", "a new claim", {"target": {"newClaim": {"name": "copy", "size": "10Gi", "accessModes": ["ReadWriteMany"]}}}),
    Accepted("RestoreJob", "a key of one's own", {"identitySecretRef": {"name": "key", "key": "identity.txt"}}),
)

REJECTED = (
    Rejected("BackupStorage", "no place", {"s3": ABSENT}, "give exactly one of s3 and volume"),
    Rejected("BackupStorage", "two places", {"volume": {"claimName": "disk"}}, "give exactly one of s3 and volume"),
    Rejected("BackupStorage", "silence about encryption", {"encryption": ABSENT}, "spec.encryption", rule=False),
    Rejected(
        "BackupStorage",
        "encryption without a key",
        {"encryption": {}},
        "algorithms Age and AES256 need secretRef (a passphrase) or recipients",
    ),
    Rejected(
        "BackupStorage",
        "AES without a key",
        {"encryption": {"algorithm": "AES256"}},
        "algorithms Age and AES256 need secretRef (a passphrase) or recipients",
    ),
    Rejected("BackupStorage", "a key for no encryption", {"encryption.algorithm": "None"}, "algorithm None seals nothing"),
    Rejected(
        "BackupStorage", "recipients for no encryption", {"encryption": {"algorithm": "None", "recipients": [RECIPIENT]}}, "seals nothing"
    ),
    Rejected("BackupStorage", "an unknown cipher", {"encryption.algorithm": "AES128"}, "Unsupported value", rule=False),
    Rejected(
        "BackupStorage",
        "an ssh key as recipient",
        {"encryption.recipients": ["ssh-ed25519 AAAA"]},
        "spec.encryption.recipients",
        rule=False,
    ),
    Rejected("BackupStorage", "an empty list of recipients", {"encryption": {"recipients": []}}, "spec.encryption.recipients", rule=False),
    Rejected("BackupStorage", "a secret without a key", {"encryption": {"secretRef": {"name": "x"}}}, "secretRef.key", rule=False),
    Rejected("BackupStorage", "no bucket", {"s3.bucket": ABSENT}, "spec.s3.bucket", rule=False),
    Rejected("BackupStorage", "a bucket with a slash", {"s3.bucket": "a/b"}, "spec.s3.bucket", rule=False),
    Rejected("BackupStorage", "no credentials", {"s3.credentialsSecretRef": ABSENT}, "credentialsSecretRef", rule=False),
    Rejected("BackupStorage", "a prefix that climbs", {"s3.prefix": "a/../b"}, "no part of the prefix may be '.' or '..'"),
    Rejected("BackupStorage", "a prefix with a slash", {"s3.prefix": "a/"}, "spec.s3.prefix", rule=False),
    Rejected("BackupStorage", "a password in the endpoint", {"s3.endpoint": "https://me:secret@host"}, "spec.s3.endpoint", rule=False),
    Rejected("BackupStorage", "an endpoint without scheme", {"s3.endpoint": "host:9000"}, "spec.s3.endpoint", rule=False),
    Rejected("BackupStorage", "a short fingerprint", {"encryption.fingerprint": "ab"}, "spec.encryption.fingerprint", rule=False),
    Rejected(
        "BackupStorage", "a path that climbs", {"s3": ABSENT, "volume": {"claimName": "d", "path": ".."}}, "no part of the path may be '..'"
    ),
    Rejected(
        "BackupStorage", "an absolute path", {"s3": ABSENT, "volume": {"claimName": "d", "path": "/a"}}, "spec.volume.path", rule=False
    ),
    Rejected(
        "BackupStorage", "a claim that is a path", {"s3": ABSENT, "volume": {"claimName": "../d"}}, "spec.volume.claimName", rule=False
    ),
    Rejected(
        "BackupStorage", "a negative group", {"s3": ABSENT, "volume": {"claimName": "d", "group": -1}}, "spec.volume.group", rule=False
    ),
    Rejected("BackupJob", "no storage", {"storageRef": ABSENT}, "spec.storageRef", rule=False),
    Rejected("BackupJob", "no source", {"source": ABSENT}, "spec.source", rule=False),
    Rejected("BackupJob", "a source of no kind", {"source": {}}, "spec.source.volume", rule=False),
    Rejected("BackupJob", "an unknown type", {"type": "Continuous"}, "Unsupported value", rule=False),
    Rejected(
        "BackupJob",
        "an unknown type of a schedule",
        {"schedules": [{"name": "a", "schedule": "0 0 * * *", "type": "Hourly"}]},
        "Unsupported value",
        rule=False,
    ),
    Rejected("BackupJob", "a chain of no backup", {"maxChainLength": 0}, "spec.maxChainLength", rule=False),
    Rejected("BackupJob", "a chain of more than 100", {"maxChainLength": 101}, "spec.maxChainLength", rule=False),
    Rejected("BackupJob", "nothing to include", {"source.volume.include": []}, "spec.source.volume.include", rule=False),
    Rejected("BackupJob", "an empty line to include", {"source.volume.include": [""]}, "spec.source.volume.include", rule=False),
    Rejected("BackupJob", "two lines in one", {"source.volume.exclude": ["a\nb"]}, "spec.source.volume.exclude", rule=False),
    Rejected("BackupJob", "a line of 1025", {"source.volume.exclude": ["x" * 1025]}, "spec.source.volume.exclude", rule=False),
    Rejected("BackupJob", "65 lines", {"source.volume.exclude": ["a"] * 65}, "spec.source.volume.exclude", rule=False),
    Rejected(
        "BackupJob",
        "one schedule and several",
        {"schedule": "0 0 * * *", "schedules": [{"name": "a", "schedule": "0 0 * * *"}]},
        "schedule and schedules exclude each other",
    ),
    Rejected("BackupJob", "a zone without a schedule", {"timeZone": "Europe/Berlin"}, "timeZone belongs to schedule"),
    Rejected("BackupJob", "a zone of no place", {"schedule": "0 0 * * *", "timeZone": "Local"}, "'Local' is no time zone"),
    Rejected("BackupJob", "a zone that climbs", {"schedule": "0 0 * * *", "timeZone": "../etc/passwd"}, "spec.timeZone", rule=False),
    Rejected("BackupJob", "six cron fields", {"schedule": "0 0 0 * * *"}, "a schedule has five fields"),
    Rejected("BackupJob", "four cron fields", {"schedule": "0 0 * *"}, "a schedule has five fields"),
    Rejected("BackupJob", "a word that is no schedule", {"schedule": "@noon"}, "a schedule has five fields"),
    Rejected("BackupJob", "a zone in the schedule", {"schedule": "TZ=UTC 0 0 * * *"}, "no TZ= in a schedule"),
    Rejected("BackupJob", "a cron zone in the schedule", {"schedule": "CRON_TZ=UTC 0 0 * * *"}, "no TZ= in a schedule"),
    Rejected("BackupJob", "two lines", {"schedule": "0 0 * * *\n"}, "spec.schedule", rule=False),
    Rejected("BackupJob", "bad cron among several", {"schedules": [{"name": "a", "schedule": "daily"}]}, "a schedule has five fields"),
    Rejected(
        "BackupJob",
        "two of a name",
        {"schedules": [{"name": "a", "schedule": "0 0 * * *"}, {"name": "a", "schedule": "1 0 * * *"}]},
        "uplicate",
        rule=False,
    ),
    Rejected(
        "BackupJob",
        "a schedule with a dotted name",
        {"schedules": [{"name": "a.b", "schedule": "0 0 * * *"}]},
        "a schedule's name consists of",
    ),
    Rejected("BackupJob", "an empty list of schedules", {"schedules": []}, "spec.schedules", rule=False),
    Rejected("BackupJob", "a chain that climbs", {"chain": "a..b"}, "a chain's name consists of"),
    Rejected("BackupJob", "a chain with a slash", {"chain": "a/b"}, "a chain's name consists of"),
    Rejected("BackupJob", "a chain in capitals", {"chain": "Daily"}, "a chain's name consists of"),
    Rejected("BackupJob", "a chain with a line end", {"chain": "daily\n"}, "a chain's name consists of"),
    Rejected("BackupJob", "a chain of 64", {"chain": "a" * 64}, "spec.chain", rule=False),
    Rejected("BackupJob", "a path that climbs", {"source.volume.path": "a/../../b"}, "no part of the path may be '..'"),
    Rejected("BackupJob", "an absolute path", {"source.volume.path": "/etc"}, "spec.source.volume.path", rule=False),
    Rejected("BackupJob", "a path with a NUL", {"source.volume.path": "a\x00b"}, "spec.source.volume.path", rule=False),
    Rejected("BackupJob", "a level out of range", {"compression": {"level": 20}}, "spec.compression.level", rule=False),
    Rejected("BackupJob", "a duration without unit", {"timeout": "90"}, "hours, minutes and seconds"),
    Rejected("BackupJob", "no time at all", {"timeout": "0s"}, "give hours, minutes and seconds between 1s and 8760h"),
    Rejected("BackupJob", "longer than a year", {"startDeadline": "8761h"}, "give hours, minutes and seconds between 1s and 8760h"),
    Rejected("BackupJob", "a start deadline below a minute", {"startingDeadlineSeconds": 59}, "startingDeadlineSeconds", rule=False),
    Rejected("BackupJob", "endless retries", {"backoffLimit": 11}, "spec.backoffLimit", rule=False),
    Rejected("BackupJob", "user 0 by number", {"worker": {"securityContext": {"runAsUser": 0}}}, "runAsUser", rule=False),
    Rejected(
        "BackupJob",
        "root as another",
        {"worker": {"identity": "Root", "securityContext": {"runAsUser": 5}}},
        "identity: Root runs as user 0",
    ),
    Rejected("BackupJob", "a label of ours", {"worker": {"podLabels": {"backup.iot-system.io/owner-name": "x"}}}, "belong to the operator"),
    Rejected("BackupJob", "a label below ours", {"worker": {"podLabels": {"kopf.backup.iot-system.io/x": "x"}}}, "belong to the operator"),
    Rejected(
        "BackupJob",
        "a label of the installation",
        {"worker": {"podLabels": {"app.kubernetes.io/managed-by": "x"}}},
        "belong to the operator",
    ),
    Rejected(
        "BackupJob", "an annotation of ours", {"worker": {"podAnnotations": {"backup.iot-system.io/spec": "{}"}}}, "belong to the operator"
    ),
    Rejected("BackupJob", "a label with a blank", {"worker": {"podLabels": {"team": "a b"}}}, "podLabels", rule=False),
    Rejected("BackupJob", "a quantity of nothing", {"worker": {"resources": {"limits": {"memory": "much"}}}}, "memory", rule=False),
    Rejected("Backup", "no job", {"jobRef": ABSENT}, "spec.jobRef", rule=False),
    Rejected("Backup", "an unknown type", {"type": "Continuous"}, "Unsupported value", rule=False),
    Rejected("Backup", "half a run", {"run": {"jobName": "x"}}, "spec.run.jobUID", rule=False),
    Rejected("RestoreJob", "no source", {"backupRef": ABSENT}, "give exactly one source"),
    Rejected("RestoreJob", "two sources", {"backupJobRef": {"name": "daily"}, "latest": True}, "give exactly one source"),
    Rejected(
        "RestoreJob",
        "a job without latest",
        {"backupRef": ABSENT, "backupJobRef": {"name": "d"}},
        "backupJobRef goes with latest: true or with asOf",
    ),
    Rejected(
        "RestoreJob",
        "latest false",
        {"backupRef": ABSENT, "backupJobRef": {"name": "d"}, "latest": False},
        "goes with latest: true or with asOf",
    ),
    Rejected("RestoreJob", "latest of a backup", {"latest": True}, "backupJobRef goes with latest: true or with asOf"),
    Rejected("RestoreJob", "a backup at a time", {"asOf": "2026-11-24T18:00:00Z"}, "backupJobRef goes with latest: true or with asOf"),
    Rejected("RestoreJob", "the latest at a time", {**AS_OF, "latest": True}, "latest: true and asOf exclude each other"),
    Rejected("RestoreJob", "a time without zone", {**AS_OF, "asOf": "2026-11-24T18:00:00"}, "spec.asOf", rule=False),
    Rejected("RestoreJob", "a day", {**AS_OF, "asOf": "yesterday"}, "spec.asOf", rule=False),
    Rejected("RestoreJob", "a part of no extent", {"type": "Selective"}, "type: Selective needs include or exclude"),
    Rejected("RestoreJob", "all of a part", {"include": ["/config/"]}, "include and exclude go with type: Selective"),
    Rejected("RestoreJob", "all but a part, as everything", {"type": "Full", "exclude": ["a"]}, "go with type: Selective"),
    Rejected("RestoreJob", "an empty list to include", {"type": "Selective", "include": []}, "spec.include", rule=False),
    Rejected("RestoreJob", "two lines in one", {"type": "Selective", "include": ["a\nb"]}, "spec.include", rule=False),
    Rejected("RestoreJob", "a point in time", {"type": "PointInTime"}, "Unsupported value", rule=False),
    Rejected(
        "RestoreJob",
        "a plan for a new claim",
        {"mode": "Plan", "target": {"newClaim": {"name": "c", "size": "1Gi"}}},
        "mode: Plan compares with a claim that is there",
    ),
    Rejected(
        "RestoreJob",
        "a storage without archive",
        {"backupRef": ABSENT, "storageRef": {"name": "p"}},
        "storageRef and archive belong together",
    ),
    Rejected("RestoreJob", "an archive of a backup", {"archive": "0" * 16}, "storageRef and archive belong together"),
    Rejected(
        "RestoreJob",
        "an archive that climbs",
        {"backupRef": ABSENT, "storageRef": {"name": "p"}, "archive": "../../x"},
        "spec.archive",
        rule=False,
    ),
    Rejected("RestoreJob", "no target", {"target": {}}, "give exactly one target"),
    *(
        Rejected(
            kind, f"a bandwidth of {text}", {"worker": {"bandwidthLimit": text}}, "give bytes per second, at least 1k, such as 20M or 10Mi"
        )
        for kind in ("BackupJob", "RestoreJob")
        for text in ("20m", "999", "fast")
    ),
    Rejected("RestoreJob", "two targets", {"target.newClaim": {"name": "c", "size": "1Gi"}}, "give exactly one target"),
    Rejected("RestoreJob", "a size of nothing", {"target": {"newClaim": {"name": "c", "size": "0"}}}, "give a size such as 10Gi"),
    Rejected("RestoreJob", "a size that is none", {"target": {"newClaim": {"name": "c", "size": "big"}}}, "give a size such as 10Gi"),
    Rejected("RestoreJob", "an unknown way out of a conflict", {"onConflict": "Ask"}, "Unsupported value", rule=False),
)
