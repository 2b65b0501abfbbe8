"""What every custom resource has: metadata, spec, status, and one way to decode them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from iot_backup.api.scalars import Count, Message, Reason, Time
from iot_backup.errors import InvalidSpec


class Part(BaseModel):
    """A frozen piece of an object, camelCase in the API. Fields it does not know are ignored: a newer operator may have written them."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Metadata(Part):
    """The essentials of metadata."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    annotations: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)


class Condition(Part):
    """One fact about an object, keyed by type."""

    type: Annotated[str, Field(max_length=63)]
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: Message
    last_transition_time: Time
    observed_generation: Count | None = None


class Status(Part):
    """What every status begins with."""

    observed_generation: Count | None = None
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = ()

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, None before anybody set it."""
        return next((condition for condition in self.conditions if condition.type == type_), None)


class Resource(Part):
    """A custom resource as the API server gives it; subclasses declare `spec` and `status`."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]

    metadata: Metadata

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Decode an object. Raises InvalidSpec that names the first wrong field and what is wrong with it."""
        plain = {key: _plain(body.get(key) or {}) for key in ("metadata", "spec", "status")}
        try:
            return cls.model_validate(plain)
        except ValidationError as error:
            raise InvalidSpec(_explain(cls.KIND, plain["metadata"], error)) from error


def _plain(value: Any) -> Any:
    """A copy in plain dicts and lists: kopf hands out views."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _explain(kind: str, metadata: Any, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    return (
        f"{kind} {metadata.get('namespace')}/{metadata.get('name')} cannot be used: {where}: {what}. Correct the field and apply it again."
    )
