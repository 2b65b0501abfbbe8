"""Reads a config file: a checked config, or all that is wrong with it at once, each with file, line, field and the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from iot_backup.errors import InvalidSpec
from iot_backup.standalone import config, yamlfile
from iot_backup.standalone.config import Backup, File, Job
from iot_backup.standalone.yamlfile import Document

_TYPES = {
    "string_type": "must be text: put it in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_type": "must be a section with keys of its own",
    "model_attributes_type": "must be a section with keys of its own",
    "missing": "is missing",
}
"""Pydantic's kinds of error, in words for whoever wrote the file."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    file: str
    line: int
    field: str
    """As `backup.jobs[0].type`."""
    message: str
    nearest: str | None = None
    """The right name that is most like what is there."""

    def __str__(self) -> str:
        advice = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{self.file}:{self.line}: {self.field or 'the file'} {self.message}{advice}"


def loaded(file: Path, environ: Mapping[str, str]) -> Backup:
    """The config. InvalidSpec with all problems, one a line."""
    found, problems = examined(file, environ)
    if found is None:
        raise InvalidSpec("\n".join(map(str, problems)))
    return found


def examined(file: Path, environ: Mapping[str, str]) -> tuple[Backup | None, list[Problem]]:
    """The config, or what is wrong with it, in the order of the file. InvalidSpec if it cannot be read at all."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidSpec(f"the config file {file} cannot be read: {why}. Name another one with --config.") from error
    return checked(text, str(file), environ)


def checked(text: str, file: str, environ: Mapping[str, str]) -> tuple[Backup | None, list[Problem]]:
    """The same for a text; `file` is its name in messages."""
    document = yamlfile.parsed(text, environ)
    problems = [Problem(file, fault.line, _spoken(fault.path), fault.message) for fault in document.faults]
    if not problems:
        try:
            backup = File.model_validate(document.value).backup
        except ValidationError as error:
            problems = [_problem(entry, file, document) for entry in error.errors(include_url=False)]
        else:
            problems = [Problem(file, document.line(path), _spoken(path), *rest) for path, *rest in _contradictions(backup)]
            if not problems:
                return backup, []
    return None, sorted(problems, key=lambda problem: problem.line)


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name most like this one, if any is."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), None)


def _problem(entry: Any, file: str, document: Document) -> Problem:
    path, kind, given = tuple(entry["loc"]), entry["type"], entry["input"]
    message, near = _TYPES.get(kind), None
    if kind == "extra_forbidden":
        message, near = "is no key that belongs here", nearest(str(path[-1]), _keys(path[:-1]))
    elif kind == "literal_error":
        choices = [choice.strip("'") for choice in entry["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        message, near = f"is {given!r}, which is none of {', '.join(choices)}", nearest(str(given), choices)
    elif kind == "value_error":
        message = f"cannot be used: {entry['ctx']['error']}"
    elif given is None and kind != "missing":
        message = "is empty: give it a value, or remove it"
    return Problem(file, document.line(path), _spoken(path), message or f"cannot be used: {entry['msg']}", near)


def _keys(path: yamlfile.Path) -> Collection[str]:
    """The keys of the section at this path."""
    model: type[BaseModel] = File
    for step in path:
        if isinstance(step, str):
            model = _model(model.model_fields[step].annotation) or model
    return model.model_fields


def _model(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation: itself, optional, or the items of a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model(part))), None)


def _contradictions(backup: Backup) -> Iterator[tuple[Any, ...]]:
    """What each value by itself does not show: path, message, nearest."""
    if backup.site.endswith(config.PLAIN_SUFFIX):
        yield ("backup", "site"), f"must not end with {config.PLAIN_SUFFIX}: that is the name of its repository without encryption"
    elif any(not job.encryption for job in backup.jobs) and len(backup.site + config.PLAIN_SUFFIX) > config.LONGEST_NAME:
        most = config.LONGEST_NAME - len(config.PLAIN_SUFFIX)
        yield (
            ("backup", "site"),
            f"is too long for jobs without encryption, whose repository's name ends with {config.PLAIN_SUFFIX}: it has at most {most} characters",
        )
    ids: set[str] = set()
    for number, job in enumerate(backup.jobs):
        path = ("backup", "jobs", number)
        if job.id in ids:
            yield (*path, "id"), f"is {job.id!r}, like an earlier job's: each needs its own"
        ids.add(job.id)
        if job.retention_days is not None and job.retention.days not in (None, job.retention_days):
            yield (*path, "retention", "days"), f"is {job.retention.days}, and retention_days is {job.retention_days}: give one of them"
        yield from _storage(job, backup, path)
    yield from _both_ways(backup)


def _both_ways(backup: Backup) -> Iterator[tuple[Any, ...]]:
    """Storages that one job writes to and another one copies to, in the same repository: neither could say what the other must keep."""
    written: dict[tuple[bool, str], str] = {}
    copied: dict[tuple[bool, str], str] = {}
    for number, job in enumerate(backup.jobs):
        names = tuple(dict.fromkeys(() if job.destination else job.storage or backup.storage.names))
        path = ("backup", "jobs", number) if job.storage is None else ("backup", "jobs", number, "storage")
        for place, name in enumerate(names):
            mine, theirs = (copied, written) if place else (written, copied)
            if other := theirs.get((job.encryption, name)):
                does, did = ("copies", "writes") if place else ("writes", "copies")
                yield path, f"{does} to {name!r}, and job {other!r} {did} to it: let jobs that share storages have the same one first"
            mine.setdefault((job.encryption, name), job.id)


def _storage(job: Job, backup: Backup, path: yamlfile.Path) -> Iterator[tuple[Any, ...]]:
    if job.destination is not None and job.storage is not None:
        yield (*path, "destination"), "stands beside storage: a job has one of them"
    elif job.storage is not None and not job.storage:
        yield (*path, "storage"), "is an empty list: name a storage, or remove it"
    elif job.storage is None and job.destination is None and not backup.storage.names:
        yield ("backup", "storage"), f"has no storage that job {job.id!r} could use: add local, s3 or azure"
    for name in job.storage or ():
        if name not in backup.storage.names:
            yield (*path, "storage"), f"names {name!r}, which is not in backup.storage", nearest(name, backup.storage.names)


def _spoken(path: yamlfile.Path) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
