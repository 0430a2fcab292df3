"""A validator's Ed25519 seed as a libp2p identity, public keys as peer ids, and seeds of the network as text.

Only ``node.transport*`` and this module import libp2p. An Ed25519 peer id is the identity multihash of
the serialised key, so ids sort exactly as the raw public keys do; code that only compares ids compares keys.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from libp2p.crypto.ed25519 import Ed25519PublicKey, create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from primitives.errors import LocalError
from primitives.signing import PUBLIC_KEY_BYTES, SEED_BYTES

MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class SeedAddress:
    """Where an operator says that the network can be joined: a host, a port, and whose key answers there."""

    host: str
    port: int
    public_key: bytes


def derive_key_pair(seed: bytes) -> KeyPair:
    """The libp2p key pair of a validator's 32-byte seed. Raises ``LocalError`` for another length.

    libp2p draws a random key where it is given an empty seed, so the length is checked here.
    """
    if len(seed) != SEED_BYTES:
        raise LocalError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
    return create_new_key_pair(seed)


def compute_peer_id(public_key: bytes) -> bytes:
    """The libp2p peer id, as bytes, of a 32-byte Ed25519 public key."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise LocalError(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    peer_id: bytes = ID.from_pubkey(Ed25519PublicKey.from_bytes(public_key)).to_bytes()
    return peer_id


def format_peer_id(public_key: bytes) -> str:
    """The peer id in base58, as libp2p tools print it (``12D3KooW…``)."""
    return str(ID(compute_peer_id(public_key)).to_base58())


def parse_peer_id(text: str) -> bytes:
    """The Ed25519 public key that a base58 peer id holds. Raises ``LocalError`` for any other text."""
    try:
        key = ID.from_string(text).extract_public_key()
    except Exception as error:  # The decoders below raise half a dozen unrelated types.
        raise LocalError(f"{text[:80]!r} is not a peer id: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise LocalError(f"the peer id {text[:80]!r} is not that of an Ed25519 key")
    public_key: bytes = key.to_bytes()
    return public_key


def parse_seed_address(text: str) -> SeedAddress:
    """A seed written ``host:port/peer-id``, ``[::1]:port/peer-id`` or ``/ip4/…/tcp/…/p2p/peer-id``.

    Raises ``LocalError`` that names the text and what is wrong with it.
    """
    if text.startswith("/"):
        return _parse_multiaddr(text)
    place, slash, peer_id = text.partition("/")
    host, colon, port = place.rpartition(":")
    if not slash or not colon or not host:
        raise LocalError(f"the seed {text[:120]!r} is not of the form host:port/peer-id")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return SeedAddress(host, _parse_port(port, text), parse_peer_id(peer_id))


def _parse_multiaddr(text: str) -> SeedAddress:
    try:
        address = Multiaddr(text)
        protocols = [protocol.name for protocol in address.protocols()]
        values = [address.value_for_protocol(name) for name in protocols]
    except Exception as error:  # As above: the library's errors share no root.
        raise LocalError(f"the seed {text[:120]!r} is not a multiaddr: {error}") from None
    match protocols:
        case ["ip4" | "ip6" | "dns" | "dns4" | "dns6", "tcp", "p2p"]:
            return SeedAddress(str(values[0]), _parse_port(str(values[1]), text), parse_peer_id(str(values[2])))
        case _:
            raise LocalError(f"the seed {text[:120]!r} is not of the form /ip4/…/tcp/…/p2p/…")


def _parse_port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits[:6]) <= MAX_PORT):
        raise LocalError(f"the seed {text[:120]!r} has no port between 1 and {MAX_PORT}")
    return int(digits)


def is_ip_literal(host: str) -> bool:
    """True for an IPv4 or IPv6 address in text form, false for names."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
