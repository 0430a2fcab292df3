"""The JSON form of wire structs, both ways, derived from their declared fields.

A struct is an object of its fields; one of a tagged union carries ``"type"`` besides, its class name in snake
case (``PlaceOrder`` → ``place_order``). Bytes are lower-case hexadecimal digits; 20 bytes are an address and
carry ``0x``. Enumerations are their names. Integers are JSON integers (up to 2⁶³ − 1: use a
parser that keeps them). So humans can write a transaction, and get exactly the bytes that the canonical
codec makes. What does not live here: decimals in human units (``shards.amounts``).
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from primitives.errors import RemoteError
from primitives.identifiers import ADDRESS_BYTES, format_address

TYPE: Final = "type"
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def describe(value: Any) -> Any:
    """The JSON form of ``value``: a wire struct, or a plain value inside one."""
    if isinstance(value, msgspec.Struct):
        body = {name: describe(getattr(value, name)) for name in value.__struct_fields__}
        return {TYPE: type_name(type(value)), **body} if _is_tagged(type(value)) else body
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes):
        return format_address(value) if len(value) == ADDRESS_BYTES else value.hex()
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        return {key: describe(item) for key, item in value.items()}
    return value


def type_name(struct: type[msgspec.Struct]) -> str:
    """``place_order`` for ``PlaceOrder``."""
    return _WORD.sub("_", struct.__name__).lower()


def build(kind: Any, form: Any, *, where: str = "value") -> Any:
    """The value of type ``kind`` whose JSON form is ``form``.

    Raises ``RemoteError`` (``BAD_REQUEST``) that names the field and what is expected there. Ranges are not
    checked here: the canonical codec does, when the result is encoded and decoded.
    """
    if kind is Any:
        return form
    origin = get_origin(kind)
    if origin is not None and hasattr(kind, "__metadata__"):
        return build(get_args(kind)[0], form, where=where)
    if origin in (Union, types.UnionType):
        return _build_union(get_args(kind), form, where)
    if origin in (tuple, list):
        return _build_sequence(kind, form, where)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _build_struct(kind, form, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _build_enum(kind, form, where)
    return _build_plain(kind, form, where)


def _build_struct(kind: type[msgspec.Struct], form: Any, where: str) -> msgspec.Struct:
    if not isinstance(form, dict):
        raise _complain(where, f"an object ({type_name(kind)})")
    declared = _fields(kind)
    unknown = form.keys() - {field.name for field in declared} - ({TYPE} if _is_tagged(kind) else set())
    if unknown:
        raise _complain(f"{where}.{min(unknown)}", f"no such field in {type_name(kind)}")
    values = {}
    for field in declared:
        if field.name in form:
            values[field.name] = build(field.type, form[field.name], where=f"{where}.{field.name}")
        elif field.required:
            raise _complain(f"{where}.{field.name}", "a value: the field is missing")
    return kind(**values)


def _build_union(members: tuple[Any, ...], form: Any, where: str) -> Any:
    if form is None and type(None) in members:
        return None
    structs = {type_name(m): m for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct)}
    if not structs:
        remaining = [member for member in members if member is not type(None)]
        return build(remaining[0], form, where=where)
    if len(structs) == 1:
        return build(next(iter(structs.values())), form, where=where)
    name = form.get(TYPE) if isinstance(form, dict) else None
    chosen = structs.get(name) if isinstance(name, str) else None
    if chosen is None:
        raise _complain(f"{where}.{TYPE}", "one of " + ", ".join(sorted(structs)))
    return build(chosen, form, where=where)


def _build_sequence(kind: Any, form: Any, where: str) -> Any:
    if not isinstance(form, list):
        raise _complain(where, "an array")
    args = get_args(kind)
    if get_origin(kind) is list or (len(args) == 2 and args[1] is Ellipsis):
        items = [build(args[0], item, where=f"{where}[{index}]") for index, item in enumerate(form)]
        return items if get_origin(kind) is list else tuple(items)
    if len(form) != len(args):
        raise _complain(where, f"an array of {len(args)}")
    pairs = enumerate(zip(args, form, strict=True))
    return tuple(build(arg, item, where=f"{where}[{index}]") for index, (arg, item) in pairs)


def _build_enum(kind: type[Enum], form: Any, where: str) -> Enum:
    if isinstance(form, str) and form.upper() in kind.__members__:
        return kind[form.upper()]
    raise _complain(where, "one of " + ", ".join(kind.__members__))


def _build_plain(kind: Any, form: Any, where: str) -> Any:
    if kind is bytes:
        digits = form[2:] if isinstance(form, str) and form[:2] == "0x" else form
        try:
            return bytes.fromhex(digits)
        except (TypeError, ValueError):
            raise _complain(where, "hexadecimal digits") from None
    if kind is bool and isinstance(form, bool):
        return form
    if kind is int and type(form) is int:
        return form
    if kind is str and isinstance(form, str):
        return form
    raise _complain(where, {int: "an integer", bool: "true or false", str: "a string"}.get(kind, "another value"))


def _complain(where: str, expected: str) -> RemoteError:
    return RemoteError("BAD_REQUEST", f"{where[:120]}: expected {expected}")


@lru_cache(maxsize=256)
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    hints = get_type_hints(kind, include_extras=True)
    infos = msgspec.structs.fields(kind)
    return tuple(msgspec.structs.replace(info, type=hints.get(info.name, info.type)) for info in infos)


def _is_tagged(kind: type[msgspec.Struct]) -> bool:
    return kind.__struct_config__.tag is not None
