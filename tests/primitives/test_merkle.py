"""RFC 6962 trees against the recursive definition, the committed roots and the published proof vectors."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primitives.errors import RemoteError
from primitives.merkle import (
    EMPTY_ROOT,
    compute_leaf_hash,
    compute_root,
    compute_root_of_hashes,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / ".." / "shared" / "data" / "vectors" / "rfc6962"
OWN = json.loads((ROOT / "tests" / "vectors" / "merkle.json").read_text())

leaf_lists = st.lists(st.binary(max_size=40), min_size=1, max_size=40)


def compute_root_naively(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = compute_root_naively(leaves[:split]), compute_root_naively(leaves[split:])
    return sha256(b"\x01" + left + right).digest()


def load_published(kind: str) -> list[tuple[str, dict[str, Any]]]:
    folder = PUBLISHED / kind
    if not folder.is_dir():
        pytest.skip(f"the published RFC 6962 vectors are not beside this clone: {folder}")
    return [(str(file), json.loads(file.read_text())) for file in sorted(folder.rglob("*.json"))]


def read_hash(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def is_accepted(verifier: Any, *arguments: Any) -> bool:
    try:
        verifier(*arguments)
    except RemoteError as error:
        assert error.code == "BAD_PROOF"
        return False
    return True


def test_published_inclusion_proofs_are_decided_as_published() -> None:
    cases = load_published("inclusion")
    assert len(cases) > 80
    for file, case in cases:
        accepted = is_accepted(
            verify_inclusion,
            read_hash(case["root"]),
            read_hash(case["leafHash"]),
            case["leafIdx"],
            case["treeSize"],
            [read_hash(node) for node in case["proof"] or ()],
        )
        assert accepted is not case["wantErr"], file


def test_published_consistency_proofs_are_decided_as_published() -> None:
    cases = load_published("consistency")
    assert len(cases) > 80
    for file, case in cases:
        accepted = is_accepted(
            verify_consistency,
            case["size1"],
            read_hash(case["root1"]),
            case["size2"],
            read_hash(case["root2"]),
            [read_hash(node) for node in case["proof"] or ()],
        )
        assert accepted is not case["wantErr"], file


@pytest.mark.parametrize("size", range(9))
def test_roots_of_small_trees_are_the_committed_ones(size: int) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in OWN["leaves"][:size]]
    assert compute_root(leaves).hex() == OWN["roots"][size]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert compute_root([]) == compute_root_of_hashes([]) == EMPTY_ROOT == sha256(b"").digest()


@given(leaf_lists)
def test_root_equals_the_recursive_definition(leaves: list[bytes]) -> None:
    expected = compute_root_naively(leaves)
    assert compute_root(leaves) == expected
    assert compute_root_of_hashes([compute_leaf_hash(leaf) for leaf in leaves]) == expected


def test_every_leaf_of_every_small_tree_is_provable() -> None:
    for size in range(1, 34):
        hashes = [compute_leaf_hash(bytes([number])) for number in range(size)]
        root = compute_root_of_hashes(hashes)
        for index, leaf_hash in enumerate(hashes):
            verify_inclusion(root, leaf_hash, index, size, prove_inclusion(hashes, index))


def test_every_small_tree_is_consistent_with_all_its_prefixes() -> None:
    hashes = [compute_leaf_hash(bytes([number])) for number in range(33)]
    for size in range(1, 34):
        root = compute_root_of_hashes(hashes[:size])
        for old_size in range(1, size + 1):
            proof = prove_consistency(hashes[:size], old_size)
            verify_consistency(old_size, compute_root_of_hashes(hashes[:old_size]), size, root, proof)


@given(leaf_lists, st.data())
def test_inclusion_proof_holds_for_no_other_leaf_index_size_or_path(
    leaves: list[bytes], data: st.DataObject
) -> None:
    hashes = [compute_leaf_hash(bytes([number]) + leaf) for number, leaf in enumerate(leaves)]
    root, size = compute_root_of_hashes(hashes), len(hashes)
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(hashes, index)
    verify_inclusion(root, hashes[index], index, size, proof)

    other = data.draw(st.integers(0, size - 1).filter(lambda number: number != index or size == 1))
    if other != index:
        assert not is_accepted(verify_inclusion, root, hashes[other], index, size, proof)
        assert not is_accepted(verify_inclusion, root, hashes[index], other, size, proof)
    assert not is_accepted(verify_inclusion, root, hashes[index], index, size, (*proof, root))
    assert not is_accepted(verify_inclusion, root, hashes[index], -1, size, proof)
    assert not is_accepted(verify_inclusion, root, hashes[index], size, size, proof)
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        bent = bytes([proof[place][0] ^ 1]) + proof[place][1:]
        for tampered in (
            proof[:-1],
            (*proof[:place], bent, *proof[place + 1 :]),
            (*proof[:place], proof[place][:-1], *proof[place + 1 :]),
        ):
            assert not is_accepted(verify_inclusion, root, hashes[index], index, size, tampered)


@given(st.integers(2, 70), st.data())
def test_consistency_proof_holds_for_no_other_root_or_path(size: int, data: st.DataObject) -> None:
    hashes = [compute_leaf_hash(bytes([number])) for number in range(size)]
    old_size = data.draw(st.integers(1, size - 1))
    old_root, new_root = compute_root_of_hashes(hashes[:old_size]), compute_root_of_hashes(hashes)
    proof = prove_consistency(hashes, old_size)
    verify_consistency(old_size, old_root, size, new_root, proof)

    place = data.draw(st.integers(0, len(proof) - 1))
    bent = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    for tampered in (proof[:-1], (*proof, new_root), (*proof[:place], bent, *proof[place + 1 :])):
        assert not is_accepted(verify_consistency, old_size, old_root, size, new_root, tampered)
    assert not is_accepted(verify_consistency, old_size, new_root, size, new_root, proof)
    assert not is_accepted(verify_consistency, old_size, old_root, size, old_root, proof)
    assert not is_accepted(verify_consistency, 0, EMPTY_ROOT, size, new_root, ())


def test_a_proof_of_a_higher_tree_does_not_pass_for_a_lower_one() -> None:
    left, right = compute_leaf_hash(b"left"), compute_leaf_hash(b"right")
    root = compute_root_of_hashes([left, right])
    verify_inclusion(root, right, 1, 2, [left])
    assert not is_accepted(verify_inclusion, root, right, 0, 1, [left])


def test_bytes_do_not_move_between_neighbouring_hashes() -> None:
    hashes = [compute_leaf_hash(bytes([number])) for number in range(4)]
    root = compute_root_of_hashes(hashes)
    half = compute_root_of_hashes(hashes[:2])
    other_half = compute_root_of_hashes(hashes[2:])
    verify_consistency(2, half, 4, root, [other_half])
    assert not is_accepted(verify_consistency, 2, half[:-1], 4, root, [half[-1:] + other_half])
    verify_inclusion(root, half, 0, 2, [other_half])
    assert not is_accepted(verify_inclusion, root, half[:-1], 0, 2, [half[-1:] + other_half])


def test_an_interior_node_is_no_leaf() -> None:
    left, right = compute_leaf_hash(b"left"), compute_leaf_hash(b"right")
    assert compute_root([left + right]) != compute_root_of_hashes([left, right])


@given(
    st.binary(max_size=33),
    st.binary(max_size=33),
    st.integers(-(2**65), 2**65),
    st.integers(-(2**65), 2**65),
    st.lists(st.binary(min_size=31, max_size=33), max_size=70),
)
def test_verifiers_answer_garbage_with_remote_error(
    root: bytes, leaf_hash: bytes, index: int, size: int, proof: list[bytes]
) -> None:
    is_accepted(verify_inclusion, root, leaf_hash, index, size, proof)
    is_accepted(verify_consistency, index, root, size, leaf_hash, proof)
