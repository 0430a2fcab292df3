"""Typed reading of tables that an operator wrote (TOML, JSON), with the place of the mistake in every error.

A ``Document`` wraps one table and remembers which keys were asked for; ``finish`` refuses the others and names
the nearest known key. What does not live here: what the keys mean (``node.config``, ``node.genesis``).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar

from primitives.errors import LocalError

T = TypeVar("T")

MAX_INTEGER: Final = 2**63 - 1
"""Integers travel in canonical MessagePack, whose users keep them below this."""
MAX_DEPTH: Final = 16
"""Nesting of opaque tables; far above any real one, far below the interpreter's own limit."""

_KINDS: Final = {
    bool: "true or false",
    int: "an integer",
    str: "a string",
    dict: "a table",
    list: "a list",
    float: "a number with a fraction",
    type(None): "nothing",
}


def describe_kind(kind: type) -> str:
    """How an operator calls values of this type."""
    return _KINDS.get(kind, f"a {kind.__name__}")


def describe_unknown(kind: str, name: str, known: Collection[str]) -> str:
    """``unknown key 'prot': did you mean 'port'?``, or the list of known names where none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
    return f"unknown {kind} {name!r}: {hint}"


class Document:
    """One table. ``source`` names the file, ``path`` the table's place in it."""

    __slots__ = ("_asked", "_values", "path", "source")

    def __init__(self, source: str, values: Mapping[str, Any], path: str = "") -> None:
        self.source = source
        self.path = path
        self._values = values
        self._asked: set[str] = set()

    def place(self, name: str) -> str:
        """Where the key is: ``shards[0].committee``."""
        return f"{self.path}.{name}" if self.path else name

    def error(self, name: str, complaint: str) -> LocalError:
        """The error for the key ``name``, to be raised by the caller."""
        return LocalError(f"{self.source}: {self.place(name)}: {complaint}")

    def value(self, name: str, kind: type[T]) -> T:
        """The value under ``name``, exactly of type ``kind`` (``True`` is no integer)."""
        self._asked.add(name)
        if name not in self._values:
            raise self.error(name, f"is missing; it must be {describe_kind(kind)}")
        found = self._values[name]
        if type(found) is not kind:
            raise self.error(name, f"must be {describe_kind(kind)}, not {describe_kind(type(found))}")
        return found

    def holds(self, name: str) -> bool:
        """Whether there is a value other than JSON's ``null``; the key counts as known."""
        self._asked.add(name)
        return self._values.get(name) is not None

    def text(self, name: str, max_length: int = 256) -> str:
        """A string of valid Unicode, not empty."""
        found = self.value(name, str)
        if not 0 < len(found) <= max_length:
            raise self.error(name, f"must have 1 to {max_length} characters, not {len(found)}")
        if not found.isprintable():
            raise self.error(name, "must hold printable characters only")
        return found

    def is_text(self, name: str) -> bool:
        """Whether a string is there, where a table may be as well; the key counts as known."""
        return self.holds(name) and type(self._values[name]) is str

    def integer(self, name: str, minimum: int, maximum: int) -> int:
        found = self.value(name, int)
        if not minimum <= found <= maximum:
            raise self.error(name, f"must lie between {minimum} and {maximum}, not {found}")
        return found

    def flag(self, name: str) -> bool:
        return self.value(name, bool)

    def hexadecimal(self, name: str, size_bytes: int) -> bytes:
        """Bytes written as lower-case hexadecimal digits: the one form that ``bytes.hex`` writes."""
        return self.parse_hexadecimal(name, self.value(name, str), size_bytes)

    def parse_hexadecimal(self, name: str, text: str, size_bytes: int) -> bytes:
        try:
            data = bytes.fromhex(text)
        except ValueError:
            data = b""
        if len(data) != size_bytes or data.hex() != text:
            raise self.error(name, f"must be {2 * size_bytes} lower-case hexadecimal digits")
        return data

    def table(self, name: str) -> Document:
        return Document(self.source, self.value(name, dict), self.place(name))

    def tables(self, name: str) -> tuple[Document, ...]:
        """A list of tables, each with its index in its path."""
        found: list[Document] = []
        for index, item in enumerate(self.value(name, list)):
            key = f"{name}[{index}]"
            if type(item) is not dict:
                raise self.error(key, f"must be a table, not {describe_kind(type(item))}")
            found.append(Document(self.source, item, self.place(key)))
        return tuple(found)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        found = self.value(name, list)
        for index, item in enumerate(found):
            if type(item) is not str:
                raise self.error(f"{name}[{index}]", f"must be a string, not {describe_kind(type(item))}")
        return tuple(found)

    def opaque(self, name: str) -> dict[str, Any]:
        """A table that somebody else interprets: only what has a canonical encoding may be in it."""
        found = self.value(name, dict)
        check_encodable(f"{self.source}: {self.place(name)}", found)
        return found

    def finish(self) -> None:
        """Refuse keys that nobody asked for."""
        for name in self._values:
            if name not in self._asked:
                where = f"{self.source}: {self.path}" if self.path else self.source
                raise LocalError(f"{where}: {describe_unknown('key', name, self._asked)}")


def check_encodable(place: str, value: object, depth: int = MAX_DEPTH) -> None:
    """Raise ``LocalError`` unless ``value`` is built of tables with string keys, lists, strings, integers
    below 2**63 in magnitude, booleans and nothing. Fractions are refused: write them in an integer unit."""
    if depth < 0:
        raise LocalError(f"{place}: is nested too deeply")
    match value:
        case None | bool():
            return
        case int():
            if abs(value) > MAX_INTEGER:
                raise LocalError(f"{place}: must be below 2**63 in magnitude, not {value}")
        case str():
            if not value.isascii() and value.encode("utf-8", "replace").decode() != value:
                raise LocalError(f"{place}: is not valid Unicode")
        case list():
            for index, item in enumerate(value):
                check_encodable(f"{place}[{index}]", item, depth - 1)
        case dict():
            for name, item in value.items():
                check_encodable(f"{place}: a key", name)
                if type(name) is not str:
                    raise LocalError(f"{place}: keys must be strings, not {name!r}")
                check_encodable(f"{place}.{name}", item, depth - 1)
        case _:
            raise LocalError(f"{place}: cannot hold {describe_kind(type(value))}")
