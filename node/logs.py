"""Logging: structlog events, as short coloured lines for people or as JSON lines for machines.

Everything goes through the standard library's handlers, so libraries' warnings come out in the same form.
Values are cut, files rotate: logs never fill a disk. What does not live here: what is worth logging.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from node.clock import wall_ms
from primitives.errors import LocalError

MAX_VALUE_CHARACTERS: Final = 2_048
MAX_VALUE_BYTES: Final = 32
"""Bytes are hashes and keys; of anything longer the start is enough to recognise it."""
FILE_BYTES: Final = 32 << 20
"""Of each of two files: the current one and the one before it."""
_LOGGER_NAME: Final = "rialto"
_MEMBER_COLUMNS: Final = 6
_SILENCED: Final = ("libp2p", "async_service", "multiaddr")
"""python-libp2p logs every peer's misbehaviour with a traceback; the transport reports it in one line."""


def configure_logging(level: str, form: str, file: Path | None = None, stream: TextIO | None = None) -> None:
    """Send everything from ``level`` (``debug``, ``info``, ``warning``, ``error``) on to ``file``, or to
    ``stream`` (standard error), in the ``form`` ``console`` or ``json``. May be called again.

    Raises ``LocalError`` where the file cannot be opened.
    """
    target = stream or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    handler = _open_file(file) if file is not None else logging.StreamHandler(target)
    colours = file is None and target.isatty()
    render, stamp = _choose_renderer(form, colours)
    shared: list[Processor] = [structlog.processors.add_log_level, stamp, _bound_values]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if old.get_name() == _LOGGER_NAME:
            root.removeHandler(old)
            old.close()
    handler.set_name(_LOGGER_NAME)
    root.addHandler(handler)
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger(_LOGGER_NAME).setLevel(threshold)
    for name in _SILENCED:
        silenced = logging.getLogger(name)
        silenced.setLevel(logging.CRITICAL + 1)
        silenced.propagate = False
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_make_logger,
        cache_logger_on_first_use=False,
    )


def member_logger(member: str, committee: str) -> FilteringBoundLogger:
    """The logger of one node: every line says which (``s0v1``, ``shard0``)."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger.bind(member=member, committee=committee)


def _make_logger(*_: object) -> logging.Logger:
    return logging.getLogger(_LOGGER_NAME)


def _open_file(path: Path) -> logging.Handler:
    try:
        return RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=1, encoding="utf-8")
    except OSError as error:
        raise LocalError(f"cannot write the log file {path}: {error.strerror}") from error


def _choose_renderer(form: str, colours: bool) -> tuple[list[Processor], Processor]:
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()], _stamp_fully
    console = structlog.dev.ConsoleRenderer(
        colors=colours, pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
    )
    return [_put_member_first, console], _stamp_shortly


def _compute_time() -> datetime:
    return datetime.fromtimestamp(wall_ms() / 1_000, UTC)


def _stamp_fully(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["time"] = _compute_time().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _stamp_shortly(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["timestamp"] = _compute_time().strftime("%H:%M:%S.%f")[:-3]
    return event


def _put_member_first(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """On a console the member stands before the event, in its own column, and its committee follows from it."""
    member = event.pop("member", None)
    event.pop("committee", None)
    if member is not None:
        event["event"] = f"{member:<{_MEMBER_COLUMNS}}{event['event']}"
    return event


def _bound_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Bytes become hexadecimal digits, and nothing is longer than its bound."""
    for key, value in event.items():
        shorten = _SHORTENERS.get(type(value))
        if shorten is not None:
            event[key] = shorten(value)
    return event


def _shorten_bytes(value: bytes) -> str:
    return value.hex() if len(value) <= MAX_VALUE_BYTES else f"{value[:MAX_VALUE_BYTES].hex()}…"


def _shorten_text(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}…"


_SHORTENERS: Final[dict[type, Callable[..., str]]] = {
    bytes: _shorten_bytes,
    **dict.fromkeys((str, list, tuple, dict), _shorten_text),
}
