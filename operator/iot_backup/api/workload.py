"""What BackupJob and RestoreJob say about the worker's pod."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from iot_backup.api.resource import Part
from iot_backup.api.scalars import Duration, NumericId, ObjectName, Rate, ResourceQuantity
from iot_backup.vocabulary import GROUP

Quantities = Annotated[dict[str, ResourceQuantity], Field(max_length=16)]
LabelValue = Annotated[str, Field(max_length=63)]
OwnLabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$")]
AnnotationValue = Annotated[str, Field(max_length=4096)]


class Resources(Part):
    """CPU and memory, as in a container."""

    requests: Quantities = Field(default_factory=dict)
    limits: Quantities = Field(default_factory=dict)


class SELinuxOptions(Part):
    level: Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z0-9:.,-]+$")] | None = None


class SecurityContext(Part):
    """Users and groups; nothing else of a pod's security context can be set."""

    run_as_user: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    run_as_group: NumericId | None = None
    supplemental_groups: Annotated[tuple[NumericId, ...], Field(max_length=32)] = ()
    fs_group: NumericId | None = None
    se_linux_options: SELinuxOptions | None = Field(default=None, alias="seLinuxOptions")


class Toleration(Part):
    """As in a pod; what is None is left out."""

    key: Annotated[str, Field(max_length=317)] | None = None
    operator: Literal["Equal", "Exists"] | None = None
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None


class Worker(Part):
    """The worker's pod: who it runs as, what it may use, where it is placed."""

    identity: Literal["Auto", "Root"] = "Auto"
    resources: Resources = Resources()
    security_context: SecurityContext = SecurityContext()
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] = Field(default_factory=dict)
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    priority_class_name: ObjectName | None = None
    bandwidth_limit: Rate | None = None
    pod_labels: Annotated[dict[str, OwnLabelValue], Field(max_length=32)] = Field(default_factory=dict)
    pod_annotations: Annotated[dict[str, AnnotationValue], Field(max_length=32)] = Field(default_factory=dict)

    @field_validator("pod_labels", "pod_annotations")
    @classmethod
    def _not_ours(cls, entries: dict[str, str]) -> dict[str, str]:
        if any(f"{GROUP}/" in key or key.startswith("app.kubernetes.io/") for key in entries):
            raise ValueError(f"keys of {GROUP}/ and app.kubernetes.io/ belong to the operator: use a prefix of your own")
        return entries

    @model_validator(mode="after")
    def _one_user(self) -> Self:
        if self.identity == "Root" and self.security_context.run_as_user is not None:
            raise ValueError("identity: Root runs as user 0: remove worker.securityContext.runAsUser, or set identity: Auto")
        return self


class Limits(Part):
    """How long and how often a run may try."""

    start_deadline: Duration = timedelta(minutes=10)
    timeout: Duration = timedelta(hours=24)
    backoff_limit: Annotated[int, Field(ge=0, le=10)] = 2
