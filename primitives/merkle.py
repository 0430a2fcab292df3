"""RFC 6962 Merkle trees: roots, inclusion proofs, consistency proofs.

A leaf is hashed behind 0x00 and an interior node behind 0x01, so neither passes for the other, and an odd
node moves up unhashed: nothing is ever duplicated. What does not live here: the tree over the state, which
changes in place (``primitives.state_tree``), and what the leaves mean.

Provers are given the leaf hashes and are called with indices and sizes that the caller has checked.
Verifiers take everything from outside and answer with ``RemoteError`` (``BAD_PROOF``). A bad proof is not
penalised here: an honest sender may have meant another root, which only the caller can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from primitives.errors import RemoteError
from primitives.hashing import DIGEST_BYTES, begin_hash, hash_behind

EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree without leaves (RFC 6962 §2.1)."""

LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"
BEGUN_LEAF: Final = begin_hash(LEAF_PREFIX)
BEGUN_NODE: Final = begin_hash(NODE_PREFIX)


def compute_leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf that holds ``data``: SHA-256(0x00 ‖ data)."""
    return hash_behind(BEGUN_LEAF, data)


def compute_node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the interior node over two children: SHA-256(0x01 ‖ left ‖ right)."""
    return hash_behind(BEGUN_NODE, left + right)


def compute_root(leaf_datas: Sequence[bytes]) -> bytes:
    """The root of the tree whose leaves hold ``leaf_datas`` in order; ``EMPTY_ROOT`` for none."""
    return compute_root_of_hashes([hash_behind(BEGUN_LEAF, data) for data in leaf_datas])


def compute_root_of_hashes(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root of the tree over ready leaf hashes; ``EMPTY_ROOT`` for none."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = leaf_hashes
    while len(level) > 1:
        level = _compute_parents(level)
    return level[0]


def _compute_parents(level: Sequence[bytes]) -> list[bytes]:
    """The level above; the last node of an odd level moves up unchanged.

    Pairing from the left, level by level, gives the tree of RFC 6962, whose left subtree is the largest
    full one.
    """
    parents = [hash_behind(BEGUN_NODE, left + right) for left, right in zip(level[0::2], level[1::2], strict=False)]
    if len(level) % 2:
        parents.append(level[-1])
    return parents


def prove_inclusion(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The audit path of leaf ``index``, lowest sibling first (RFC 6962 §2.1.1)."""
    assert 0 <= index < len(leaf_hashes), "the leaf to prove is in the tree"
    path: list[bytes] = []
    level = leaf_hashes
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _compute_parents(level)
        index >>= 1
    return tuple(path)


def verify_inclusion(root: bytes, leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> None:
    """Raise ``RemoteError`` unless ``proof`` shows ``leaf_hash`` at ``index`` of a tree of ``size`` leaves.

    Follows RFC 9162 §2.1.3.2, which spells out the verifier that RFC 6962 implies.
    """
    if not 0 <= index < size:
        raise RemoteError("BAD_PROOF", f"leaf {index} is not in a tree of {size} leaves")
    _validate_hash_lengths(root, leaf_hash, *proof)
    position, last = index, size - 1
    node = leaf_hash
    for sibling in proof:
        if last == 0:
            raise RemoteError("BAD_PROOF", "the inclusion proof is longer than the tree is high")
        if position & 1 or position == last:
            node = compute_node_hash(sibling, node)
            while position and not position & 1:
                # A node at the right edge without sibling moved up unchanged; its levels have no hash.
                position >>= 1
                last >>= 1
        else:
            node = compute_node_hash(node, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise RemoteError("BAD_PROOF", "the inclusion proof is shorter than the tree is high")
    if node != root:
        raise RemoteError("BAD_PROOF", "the inclusion proof leads to another root")


def prove_consistency(leaf_hashes: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """The proof that the tree over the first ``old_size`` leaves is a prefix of the tree over all of them.

    Empty for equal sizes (RFC 6962 §2.1.2). ``old_size`` is at least 1: every tree extends the empty one.
    """
    assert 1 <= old_size <= len(leaf_hashes), "the old tree has leaves and is no longer than the new one"
    path: list[bytes] = []
    known, leaves = old_size, leaf_hashes
    old_root_is_known = True
    while known < len(leaves):
        split = 1 << ((len(leaves) - 1).bit_length() - 1)
        if known <= split:
            path.append(compute_root_of_hashes(leaves[split:]))
            leaves = leaves[:split]
        else:
            path.append(compute_root_of_hashes(leaves[:split]))
            leaves = leaves[split:]
            known -= split
            old_root_is_known = False
    if not old_root_is_known:
        path.append(compute_root_of_hashes(leaves))
    path.reverse()
    return tuple(path)


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise ``RemoteError`` unless ``proof`` shows that the new tree begins with the old one.

    Follows RFC 9162 §2.1.4.2. An ``old_size`` of 0 is refused: such a proof says nothing, and who asks
    for one has lost track of what he knows.
    """
    if not 1 <= old_size <= new_size:
        raise RemoteError("BAD_PROOF", f"no consistency proof leads from {old_size} to {new_size} leaves")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise RemoteError("BAD_PROOF", "trees of one size are equal and need no proof")
        return
    if not proof:
        raise RemoteError("BAD_PROOF", "the consistency proof is empty")
    _validate_hash_lengths(old_root, new_root, *proof)
    old_is_full = old_size & (old_size - 1) == 0
    path = [old_root, *proof] if old_is_full else list(proof)
    old_node, new_node = _walk_consistency(path, old_size - 1, new_size - 1)
    if old_node != old_root or new_node != new_root:
        raise RemoteError("BAD_PROOF", "the consistency proof leads to other roots")


def _walk_consistency(path: Sequence[bytes], position: int, last: int) -> tuple[bytes, bytes]:
    """The old and the new root that ``path`` leads to, from the last old leaf at ``position``."""
    while position & 1:
        position >>= 1
        last >>= 1
    old_node = new_node = path[0]
    for node in path[1:]:
        if last == 0:
            raise RemoteError("BAD_PROOF", "the consistency proof is longer than the tree is high")
        if position & 1 or position == last:
            old_node = compute_node_hash(node, old_node)
            new_node = compute_node_hash(node, new_node)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            new_node = compute_node_hash(new_node, node)
        position >>= 1
        last >>= 1
    if last != 0:
        raise RemoteError("BAD_PROOF", "the consistency proof is shorter than the tree is high")
    return old_node, new_node


def _validate_hash_lengths(*hashes: bytes) -> None:
    for candidate in hashes:
        if len(candidate) != DIGEST_BYTES:
            raise RemoteError("BAD_PROOF", f"a hash has {DIGEST_BYTES} bytes, not {len(candidate)}")
