"""One verification rule: published vectors, edge-case keys, and that garbage never raises."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_add, crypto_scalarmult_ed25519_base_noclamp, crypto_sign_open
from nacl.exceptions import CryptoError

from primitives import signing
from primitives.errors import LocalError, RemoteError
from primitives.signing import (
    Ed25519,
    Ed25519Signer,
    check_verification_rule,
    derive_seed,
    validate_public_key,
    verify,
)
from primitives.speccheck import CASES

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / ".." / "shared" / "data" / "vectors" / "ed25519"
OWN = json.loads((ROOT / "tests" / "vectors" / "ed25519.json").read_text())

# What C2SP/CCTV calls unusual and the rule of the network refuses: R or A of small order or not reduced,
# and signatures that satisfy only the equation multiplied by the cofactor.
REFUSED_SIGNATURE_FLAGS = {
    "low_order_A",
    "low_order_R",
    "non_canonical_A",
    "non_canonical_R",
    "low_order_residue",
}
REFUSED_KEY_FLAGS = {"low_order_A", "non_canonical_A", "low_order_component_A"}


GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
IDENTITY = (1).to_bytes(32, "little")


def multiply_base(scalar: int) -> bytes:
    return bytes(crypto_scalarmult_ed25519_base_noclamp((scalar % GROUP_ORDER).to_bytes(32, "little")))


def multiply_point(scalar: int, point: bytes) -> bytes:
    """By addition: libsodium's own product refuses points of small order."""
    total = IDENTITY
    for _ in range(scalar):
        total = crypto_core_ed25519_add(total, point)
    return total


def list_small_order() -> list[bytes]:
    """The multiples of a point of order eight."""
    generator = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
    return [multiply_point(scalar, generator) for scalar in range(8)]


SMALL_ORDER = list_small_order()


def is_accepted_by_libsodium(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, public_key)
    except CryptoError:
        return False
    return True


def load_published(name: str) -> Any:
    file = PUBLISHED / name
    if not file.is_file():
        pytest.skip(f"the published Ed25519 vectors are not beside this clone: {file}")
    return json.loads(file.read_text())


def is_key_accepted(public_key: bytes) -> bool:
    try:
        validate_public_key(public_key)
    except RemoteError as error:
        assert error.code == "BAD_KEY"
        return False
    return True


@pytest.mark.parametrize("case", OWN["signatures"], ids=lambda case: case["name"])
def test_committed_signatures_are_decided_as_committed(case: dict[str, Any]) -> None:
    public_key, message, signature = (
        bytes.fromhex(case[field]) for field in ("public_key", "message", "signature")
    )
    assert verify(public_key, message, signature) is case["valid"]
    assert Ed25519().verify(public_key, message, signature) is case["valid"]
    if case["valid"]:
        signer = Ed25519Signer(bytes.fromhex(case["seed"]))
        assert (signer.public_key, signer.sign(message)) == (public_key, signature)


@pytest.mark.parametrize("case", OWN["keys"], ids=lambda case: case["name"])
def test_small_order_mixed_order_and_non_canonical_keys_are_refused(case: dict[str, Any]) -> None:
    assert is_key_accepted(bytes.fromhex(case["public_key"])) is case["valid"]


def test_wycheproof_signatures_are_decided_as_published() -> None:
    groups = load_published("wycheproof.json")["testGroups"]
    decided = 0
    for group in groups:
        public_key = bytes.fromhex(group["publicKey"]["pk"])
        assert is_key_accepted(public_key)
        for case in group["tests"]:
            accepted = verify(public_key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert accepted is (case["result"] == "valid"), case
            decided += 1
    assert decided == 151


def test_cctv_signatures_and_keys_are_decided_by_their_flags() -> None:
    cases = load_published("cctv.json")
    assert len(cases) == 914
    for case in cases:
        flags = set(case["flags"] or ())
        public_key, signature = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"])
        accepted = verify(public_key, case["msg"].encode(), signature)
        assert accepted is not (flags & REFUSED_SIGNATURE_FLAGS != set()), case
        assert is_key_accepted(public_key) is not (flags & REFUSED_KEY_FLAGS != set()), case


def test_embedded_speccheck_cases_are_the_published_ones() -> None:
    published = load_published("speccheck.json")
    embedded = [
        {
            "message": case.message.hex(),
            "pub_key": case.public_key.hex(),
            "signature": case.signature.hex(),
        }
        for case in CASES
    ]
    assert embedded == published


def test_this_machine_follows_the_verification_rule() -> None:
    check_verification_rule()
    assert [index for index, case in enumerate(CASES) if case.accepted] == [3]


@pytest.mark.parametrize("lenient", [True, False])
def test_a_library_with_another_rule_is_refused(lenient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "verify", lambda *_: lenient)
    with pytest.raises(LocalError, match="speccheck"):
        check_verification_rule()


@given(
    st.integers(1, 2**250),
    st.integers(1, 2**250),
    st.sampled_from(SMALL_ORDER),
    st.sampled_from(SMALL_ORDER),
    st.binary(max_size=8),
    st.sampled_from([0, 0, 0, 1, 2]),
)
def test_signatures_with_parts_of_small_order_are_decided_as_libsodium_does(
    secret: int, nonce: int, key_part: bytes, r_part: bytes, message: bytes, added_orders: int
) -> None:
    public_key = crypto_core_ed25519_add(multiply_base(secret), key_part)
    r = crypto_core_ed25519_add(multiply_base(nonce), r_part)
    challenge = int.from_bytes(hashlib.sha512(r + public_key + message).digest(), "little")
    s = (nonce + challenge * secret) % GROUP_ORDER + added_orders * GROUP_ORDER
    signature = r + s.to_bytes(32, "little")
    assert verify(public_key, message, signature) is is_accepted_by_libsodium(public_key, message, signature)
    # The parts cancel out in one of eight; then the equation holds and even a key of mixed order is accepted.
    cancels = crypto_core_ed25519_add(multiply_point(challenge % GROUP_ORDER % 8, key_part), r_part) == IDENTITY
    assert verify(public_key, message, signature) is (cancels and not added_orders)


@pytest.mark.parametrize("point", SMALL_ORDER, ids=bytes.hex)
@pytest.mark.parametrize("sign", [0, 0x80])
def test_points_of_small_order_are_no_key_and_no_r(point: bytes, sign: int) -> None:
    # With either sign, also where x is 0 and has none.
    bent = point[:-1] + bytes([point[-1] ^ sign])
    public_key = Ed25519Signer(bytes(32)).public_key
    for key, r in ((bent, IDENTITY), (bent, multiply_base(7)), (public_key, bent)):
        for s in (0, 7):
            signature = r + s.to_bytes(32, "little")
            assert not verify(key, b"", signature)
            assert not is_accepted_by_libsodium(key, b"", signature)


@given(
    st.binary(max_size=40) | st.binary(min_size=32, max_size=32),
    st.binary(max_size=100),
    st.binary(max_size=70) | st.binary(min_size=64, max_size=64),
)
def test_verify_never_raises_and_refuses_garbage(key: bytes, message: bytes, signature: bytes) -> None:
    assert verify(key, message, signature) is False


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_signatures_verify_until_a_bit_flips(seed: bytes, message: bytes, bit: int) -> None:
    signer = Ed25519Signer(seed)
    signature = signer.sign(message)
    assert verify(signer.public_key, message, signature)
    bent = bytearray(signature)
    bent[bit >> 3] ^= 1 << (bit & 7)
    assert not verify(signer.public_key, message, bytes(bent))
    assert not verify(signer.public_key, message + b"\x00", signature)
    assert is_key_accepted(signer.public_key)


@pytest.mark.parametrize("moved", [1, 32, 64])
def test_bytes_do_not_move_between_signature_and_message(moved: int) -> None:
    # The library is handed both in one piece, so only the length check keeps them apart.
    signer = Ed25519Signer(bytes(32))
    signature = signer.sign(b"message")
    assert not verify(signer.public_key, signature[-moved:] + b"message", signature[:-moved])
    assert not verify(signer.public_key, b"message"[1:], signature + b"m")


@given(st.binary(max_size=40))
def test_key_validation_raises_nothing_but_remote_error(key: bytes) -> None:
    is_key_accepted(key)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_seeds_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(LocalError, match="32 bytes"):
        Ed25519Signer(bytes(length))


def test_derived_seeds_differ_by_master_label_kind_and_division() -> None:
    seeds = [
        derive_seed(b"master"),
        derive_seed(b"another"),
        derive_seed(b"master", "account", 1),
        derive_seed(b"master", "account", "1"),
        derive_seed(b"master", "account1"),
        derive_seed(b"master", 1, "account"),
        derive_seed(b"master", "ac", "count1"),
    ]
    assert len({*seeds}) == len(seeds)
    assert all(len(seed) == signing.SEED_BYTES for seed in seeds)
    assert derive_seed(b"master", "account", 1) == seeds[2]
