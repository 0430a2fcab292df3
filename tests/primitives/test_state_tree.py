"""The state tree against a rebuild from the definition; its proofs against tampering."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primitives.codec import decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import hash_tagged
from primitives.state_tree import (
    MembershipProof,
    StateTree,
    compute_bucket_index,
    hash_value,
    verify_bucket,
    verify_membership,
)

OWN = json.loads((Path(__file__).parents[1] / "vectors" / "state_tree.json").read_text())

# Few keys, so that changes meet: overwriting, removing and adding again are the interesting steps.
keys = st.integers(0, 60).map(lambda number: b"account/%d" % number)
values = st.binary(max_size=8)
blocks = st.lists(st.dictionaries(keys, st.none() | values, max_size=12), max_size=8)
bucket_counts = st.sampled_from([1, 2, 8, 64])


def compute_root_from_scratch(records: dict[bytes, bytes], bucket_count: int) -> bytes:
    """The root by its definition, with nothing kept and nothing shared with the tree."""
    level = []
    for index in range(bucket_count):
        parts: list[bytes] = []
        for key in sorted(records):
            if int.from_bytes(hash_tagged(b"rialto/state/key", key)[:2], "big") * bucket_count >> 16 == index:
                parts += [key, hash_tagged(b"rialto/state/value", records[key])]
        level.append(sha256(b"\x00" + hash_tagged(b"rialto/state/bucket", *parts)).digest())
    while len(level) > 1:
        level = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level), 2)]
    return level[0]


def assert_refused(root: bytes, bucket_count: int, key: bytes, value: bytes | None, proof: MembershipProof) -> None:
    with pytest.raises(RemoteError) as caught:
        verify_membership(root, bucket_count, key, value, proof)
    assert caught.value.code == "BAD_PROOF"


def test_roots_are_the_committed_ones() -> None:
    for case in OWN["roots"]:
        tree = StateTree(case["bucket_count"])
        records = OWN["records"][: case["records"]]
        tree.update({bytes.fromhex(key): bytes.fromhex(value) for key, value in records})
        assert tree.root.hex() == case["root"], case


@settings(max_examples=60)
@given(bucket_counts, blocks)
def test_incremental_root_equals_a_full_rebuild(
    bucket_count: int, changes: list[dict[bytes, bytes | None]]
) -> None:
    tree = StateTree(bucket_count)
    records: dict[bytes, bytes] = {}
    for block in changes:
        root = tree.update(block)
        for key, value in block.items():
            if value is None:
                records.pop(key, None)
            else:
                records[key] = value
        assert root == tree.root == compute_root_from_scratch(records, bucket_count)
        assert len(tree) == len(records)
    listed = [key for index in range(bucket_count) for key in tree.bucket_items(index)]
    assert sorted(listed) == sorted(records)


@given(st.dictionaries(keys, values, max_size=20), st.randoms(use_true_random=False))
def test_order_of_changes_does_not_matter(records: dict[bytes, bytes], random: object) -> None:
    shuffled = list(records.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one_by_one = StateTree(8)
    for key, value in shuffled:
        one_by_one.update({key: value})
    assert StateTree(8).update(dict(records)) == one_by_one.root


def test_removing_everything_gives_the_empty_root_again() -> None:
    tree = StateTree(16)
    empty = tree.root
    records: dict[bytes, bytes | None] = {b"key %d" % number: b"value" for number in range(50)}
    assert tree.update(records) != empty
    assert tree.update(dict.fromkeys(records)) == empty
    assert len(tree) == 0


def test_removing_an_absent_key_changes_nothing() -> None:
    tree = StateTree(4)
    root = tree.update({b"here": b"1"})
    assert tree.update({b"absent %d" % number: None for number in range(20)}) == root


@settings(max_examples=60)
@given(bucket_counts, st.dictionaries(keys, values, max_size=30), keys)
def test_proof_shows_the_value_or_the_absence_and_nothing_else(
    bucket_count: int, records: dict[bytes, bytes], key: bytes
) -> None:
    tree = StateTree(bucket_count)
    root = tree.update(dict(records))
    proof: MembershipProof = decode(MembershipProof, encode(tree.prove(key)), max_bytes=100_000)
    value = records.get(key)
    verify_membership(root, bucket_count, key, value, proof)
    assert_refused(root, bucket_count, key, b"another value", proof)
    assert_refused(root, bucket_count, key, b"" if value is None else None, proof)
    assert_refused(bytes(32), bucket_count, key, value, proof)
    assert_refused(root, bucket_count * 2, key, value, proof)


def make_proof() -> tuple[bytes, bytes, MembershipProof]:
    """A root over a few well filled buckets, one of its keys and that key's proof."""
    tree = StateTree(4)
    root = tree.update({b"key %d" % number: b"value" for number in range(40)})
    return root, b"key 7", tree.prove(b"key 7")


def test_proof_with_a_record_left_out_is_refused() -> None:
    root, key, proof = make_proof()
    shorter = tuple(entry for entry in proof.entries if entry[0] != key)
    assert_refused(root, 4, key, None, msgspec.structs.replace(proof, entries=shorter))


def test_proof_with_records_in_another_order_or_twice_is_refused() -> None:
    root, key, proof = make_proof()
    for entries in (proof.entries[::-1], proof.entries + proof.entries[-1:]):
        assert_refused(root, 4, key, b"value", msgspec.structs.replace(proof, entries=entries))


def test_proof_with_another_value_hash_is_refused() -> None:
    root, key, proof = make_proof()
    entries = tuple((name, hash_value(b"forged") if name == key else was) for name, was in proof.entries)
    assert_refused(root, 4, key, b"forged", msgspec.structs.replace(proof, entries=entries))
    cut = tuple((name, was[:-1]) for name, was in proof.entries)
    assert_refused(root, 4, key, b"value", msgspec.structs.replace(proof, entries=cut))


def test_proof_with_another_path_or_bucket_is_refused() -> None:
    root, key, proof = make_proof()
    for path in (proof.path[:-1], (*proof.path, root), proof.path[::-1], ()):
        assert_refused(root, 4, key, b"value", msgspec.structs.replace(proof, path=path))
    for bucket in (proof.bucket ^ 1, 4, 2**40):
        assert_refused(root, 4, key, b"value", msgspec.structs.replace(proof, bucket=bucket))


@pytest.mark.parametrize(
    "entries",
    [
        ((b"b", bytes(32)), (b"a", bytes(32))),
        ((b"a", hash_value(b"value")), (b"a", bytes(32))),
        ((b"a", bytes(31)),),
    ],
    ids=["out of order", "a key twice", "a short value hash"],
)
def test_malformed_bucket_is_refused_even_where_the_root_matches(
    entries: tuple[tuple[bytes, bytes], ...],
) -> None:
    parts = [part for entry in entries for part in entry]
    root = sha256(b"\x00" + hash_tagged(b"rialto/state/bucket", *parts)).digest()
    with pytest.raises(RemoteError, match="BAD_PROOF"):
        verify_bucket(root, 1, MembershipProof(bucket=0, entries=entries, path=()))


def test_absence_is_not_proved_from_another_bucket() -> None:
    tree = StateTree(4)
    root = tree.update({b"key %d" % number: b"value" for number in range(40)})
    foreign = next(tree.prove_bucket(index) for index in range(4) if index != compute_bucket_index(b"key 7", 4))
    verify_bucket(root, 4, foreign)
    assert_refused(root, 4, b"key 7", None, foreign)


def test_whole_buckets_are_provable_for_snapshots() -> None:
    tree = StateTree(8)
    root = tree.update({b"key %d" % number: b"value" for number in range(100)})
    for index in range(8):
        proof = tree.prove_bucket(index)
        verify_bucket(root, 8, proof)
        assert tuple(key for key, _ in proof.entries) == tree.bucket_items(index)


@pytest.mark.parametrize("bucket_count", [-1, 0, 3, 1000, 131_072])
def test_odd_bucket_counts_are_refused(bucket_count: int) -> None:
    with pytest.raises(LocalError, match="power of two"):
        StateTree(bucket_count)


def test_the_largest_tree_names_buckets_by_two_bytes() -> None:
    tree = StateTree(65_536)
    tree.update({b"key": b"value"})
    index = int.from_bytes(hash_tagged(b"rialto/state/key", b"key")[:2], "big")
    assert tree.bucket_items(index) == (b"key",)
    verify_membership(tree.root, 65_536, b"key", b"value", tree.prove(b"key"))
