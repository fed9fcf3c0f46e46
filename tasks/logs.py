"""Which version a run is about, in every line that it logs from the moment that this is known.

What was named last in a context (a run, or a step that runs beside others) is what its next lines are about. The worker's
log is one JSON object a line (Prefect's formatter), with the run in `flow_run_id` and this in `version`.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from prefect.logging import get_run_logger
from prefect.logging.loggers import PrefectLogAdapter

from modelshelf.errors import ModelshelfError
from modelshelf.names import ModelRef
from modelshelf.words import plain
from tasks.library import in_run

_SUBJECT: ContextVar[str] = ContextVar("subject", default="")
_make_record = logging.getLogRecordFactory()


def about(*values: object) -> None:
    """The first of these that names a version, else where one comes from, is what follows is about."""
    named = _versions(values) or [value.uri for value in values if hasattr(value, "uri")]
    if named:
        _SUBJECT.set(str(named[0]))


def logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """Return the logger of this run, whose lines `modelshelf follow` shows by its name; an ordinary one without a flow run."""
    logger = get_run_logger() if in_run() else logging.getLogger("modelshelf")
    return logger.getChild("modelshelf") if isinstance(logger, PrefectLogAdapter) else logger


def say(text: object) -> None:
    """Write a line of what the run does into its own log."""
    logger().info("%s", plain(text))


def _versions(value: object) -> list[ModelRef]:
    """The versions that it names: a reference, what has one, what serves some, or several of these."""
    if isinstance(value, tuple | list):
        return [ref for one in value for ref in _versions(one)]
    found = getattr(value, "ref", value)
    return [found] if isinstance(found, ModelRef) else _versions(getattr(value, "serves", ()))


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = _make_record(*args, **kwargs)
    record.version = _SUBJECT.get()
    if record.exc_info and isinstance(record.exc_info[1], ModelshelfError):
        record.exc_info = None  # its sentence says all; a trace says that the program is at fault
    return record


logging.setLogRecordFactory(_record)
