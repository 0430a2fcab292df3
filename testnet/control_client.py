"""Asking a control socket: a member's, or the supervisor's (``node.control`` is the other end)."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

from primitives.errors import LocalError

MAX_ANSWER_BYTES: Final = 4 << 20
DEFAULT_TIMEOUT_S: Final = 5.0


async def request_control(
    path: Path, body: Mapping[str, Any], *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> dict[str, Any]:
    """Send one request and return the answer.

    Raises ``LocalError`` where nobody listens, where no answer comes in time, and for a refusal.
    """
    try:
        with trio.fail_after(timeout_s):
            answer = await _exchange(path, json.dumps(body, separators=(",", ":")).encode() + b"\n")
    except (OSError, trio.BrokenResourceError) as error:
        raise LocalError(f"{path}: nobody answers ({error or 'connection lost'})") from None
    except trio.TooSlowError:
        raise LocalError(f"{path}: no answer within {timeout_s:g} s") from None
    if answer.get("ok") is not True:
        raise LocalError(str(answer.get("error", "refused without a reason")))
    return answer


async def _exchange(path: Path, line: bytes) -> dict[str, Any]:
    async with trio.SocketStream(trio.socket.from_stdlib_socket(_connect(path))) as stream:
        await stream.send_all(line)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            chunk = await stream.receive_some()
            if not chunk or len(answer) > MAX_ANSWER_BYTES:
                raise OSError("the answer ended early")
            answer += chunk
    try:
        table = json.loads(answer)
    except ValueError:
        raise OSError("the answer is not JSON") from None
    if not isinstance(table, dict):
        raise OSError("the answer is no JSON object")
    return table


def _connect(path: Path) -> socket.socket:
    """A connected socket. The path of a Unix socket has at most 107 bytes, so we connect relative to its directory;
    connecting to a local socket does not block, so no other task runs while the working directory is another."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    previous = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        connection.connect(path.name)
    except OSError:
        connection.close()
        raise
    finally:
        os.fchdir(previous)
        os.close(previous)
    return connection
