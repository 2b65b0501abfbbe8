"""What Backup and RestoreJob say about the run they stand for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from iot_backup.api.resource import Part, Status
from iot_backup.api.scalars import Count, Message, Phase, Reason, Time


class Failure(Part):
    """Why a run, or its last attempt, failed."""

    class_: Reason = Field(alias="class")
    message: Message
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None


class RunStatus(Status):
    """The status of something that runs once."""

    phase: Phase | None = None
    start_time: Time | None = None
    completion_time: Time | None = None
    job_name: Annotated[str, Field(max_length=253)] | None = None
    attempts: Count | None = None
    warnings: Count | None = None
    warning_messages: Annotated[tuple[Annotated[str, Field(max_length=2048)], ...], Field(max_length=8)] = ()
    failure: Failure | None = None
