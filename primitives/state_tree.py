"""The commitment to the state: a bucketed Merkle tree over byte keys and the hashes of their values.

What lives here: the tree, its membership proofs and their verifier. What does not: the values themselves
(the store and the state machine hold those) and what the keys mean.

Theory of operation

- A key belongs to the bucket that the first bits of its tagged hash name; the number of buckets is a power
  of two, chosen at genesis and fixed from then on.
- A bucket's hash is the tagged hash over its keys, in byte order, each followed by its value's tagged hash.
  An empty bucket therefore has one constant hash.
- The bucket hashes are the leaves of an RFC 6962 tree (``primitives.merkle``). All its levels are kept, so
  a block rehashes the buckets it touched and the paths above them, each node once.

The root is a function of the current keys and values alone: neither the order of changes nor their grouping
into blocks matters. A bucket costs its size to rehash, a path its height, so the tree is fastest when a
bucket holds a few records; ``benchmarks/bench_state_tree.py`` prints the figures for a choice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from primitives.codec import Digest, Unsigned, Wire
from primitives.errors import LocalError, RemoteError
from primitives.hashing import DIGEST_BYTES, begin_hash, frame_part, frame_tag, hash_behind, hash_tagged
from primitives.merkle import (
    BEGUN_LEAF,
    BEGUN_NODE,
    compute_leaf_hash,
    compute_node_hash,
    compute_root,
    verify_inclusion,
)

DEFAULT_BUCKET_COUNT: Final = 1024
MAX_BUCKET_COUNT: Final = 65_536
"""Two bytes of a key's hash name its bucket; more buckets than that would cost memory before any use."""

_KEY_TAG: Final = b"rialto/state/key"
_VALUE_TAG: Final = b"rialto/state/value"
_BUCKET_TAG: Final = b"rialto/state/bucket"

# The same bytes that ``hash_tagged`` would hash, put together by hand where every record passes.
_KEY: Final = begin_hash(frame_tag(_KEY_TAG))
_VALUE: Final = begin_hash(frame_tag(_VALUE_TAG))
_BUCKET: Final = begin_hash(frame_tag(_BUCKET_TAG))
_DIGEST_LENGTH: Final = DIGEST_BYTES.to_bytes(4, "big")

_EMPTY_BUCKET_LEAF: Final = compute_leaf_hash(hash_tagged(_BUCKET_TAG))


class MembershipProof(Wire, frozen=True):
    """Everything in one bucket and the bucket's path: proves any key of it present, any other absent.

    ``entries`` are (key, value hash) in ascending order of keys; ``path`` is the bucket's audit path, lowest
    sibling first.
    """

    bucket: Unsigned
    entries: tuple[tuple[bytes, Digest], ...]
    path: tuple[Digest, ...]


def hash_value(value: bytes) -> bytes:
    """The hash by which the tree knows a value: 32 bytes."""
    return hash_tagged(_VALUE_TAG, value)


def compute_bucket_index(key: bytes, bucket_count: int) -> int:
    """The bucket of ``key``: as many first bits of its tagged hash as number ``bucket_count`` buckets."""
    first_bytes = int.from_bytes(hash_tagged(_KEY_TAG, key)[:2], "big")
    return first_bytes * bucket_count // MAX_BUCKET_COUNT


def compute_bucket_hash(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The hash of the bucket that holds exactly these (key, value), given in ascending order of keys: 32 bytes."""
    hasher = _BUCKET.copy()
    for key, value in entries:
        hasher.update(frame_part(key) + _DIGEST_LENGTH + hash_value(value))
    return hasher.digest()


def compute_root_of_buckets(bucket_hashes: Sequence[bytes]) -> bytes:
    """The root of the tree whose buckets have these hashes, in order. It fixes their number too: a bucket's hash is
    hashed behind the leaf prefix, so no interior node passes for one."""
    return compute_root(bucket_hashes)


class _Bucket:
    """The records of one bucket in key order, each framed as its part of the bucket's preimage."""

    __slots__ = ("keys", "records")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.records: list[bytes] = []


class StateTree:
    """The tree over the current state; starts empty.

    Raises ``LocalError`` for a bucket count that is not a power of two up to ``MAX_BUCKET_COUNT``.
    """

    __slots__ = ("_bucket_count", "_buckets", "_levels", "_record_count", "_shift")

    def __init__(self, bucket_count: int = DEFAULT_BUCKET_COUNT) -> None:
        validate_bucket_count(bucket_count)
        self._bucket_count = bucket_count
        self._shift = 16 - (bucket_count.bit_length() - 1)
        self._buckets: dict[int, _Bucket] = {}
        self._record_count = 0
        self._levels: list[list[bytes]] = [[_EMPTY_BUCKET_LEAF] * bucket_count]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            self._levels.append([compute_node_hash(below[0], below[1])] * (len(below) // 2))

    def __len__(self) -> int:
        return self._record_count

    @property
    def bucket_count(self) -> int:
        """The number of buckets, as given at genesis."""
        return self._bucket_count

    @property
    def root(self) -> bytes:
        """The commitment to every key and value: 32 bytes."""
        return self._levels[-1][0]

    def update(self, changes: Mapping[bytes, bytes | None]) -> bytes:
        """Set each key to its value, remove where the value is ``None``, and return the new root.

        Removing an absent key and setting a value again change nothing. Rehashes what was touched, once.
        """
        touched: dict[int, None] = {}
        shift = self._shift
        for key, value in changes.items():
            framed_key = len(key).to_bytes(4, "big") + key
            digest = hash_behind(_KEY, framed_key)
            index = (digest[0] << 8 | digest[1]) >> shift
            if value is None:
                changed = self._remove(index, key)
            else:
                value_hash = hash_behind(_VALUE, len(value).to_bytes(4, "big") + value)
                changed = self._put(index, key, framed_key + _DIGEST_LENGTH + value_hash)
            if changed:
                touched[index] = None
        self._rehash(touched)
        return self.root

    def _put(self, index: int, key: bytes, record: bytes) -> bool:
        """Store ``record``; true if that changed the bucket."""
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = _Bucket()
        keys = bucket.keys
        position = bisect_left(keys, key)
        if position < len(keys) and keys[position] == key:
            if bucket.records[position] == record:
                return False
            bucket.records[position] = record
            return True
        keys.insert(position, key)
        bucket.records.insert(position, record)
        self._record_count += 1
        return True

    def _remove(self, index: int, key: bytes) -> bool:
        """Forget ``key``; true if it was there. An emptied bucket is dropped."""
        bucket = self._buckets.get(index)
        if bucket is None:
            return False
        position = bisect_left(bucket.keys, key)
        if position == len(bucket.keys) or bucket.keys[position] != key:
            return False
        del bucket.keys[position]
        del bucket.records[position]
        self._record_count -= 1
        if not bucket.keys:
            del self._buckets[index]
        return True

    def _rehash(self, touched: Iterable[int]) -> None:
        """Recompute the leaves of ``touched`` buckets and every node above them, each once."""
        leaves = self._levels[0]
        for index in touched:
            bucket = self._buckets.get(index)
            if bucket is None:
                leaves[index] = _EMPTY_BUCKET_LEAF
            else:
                bucket_hash = hash_behind(_BUCKET, b"".join(bucket.records))
                leaves[index] = hash_behind(BEGUN_LEAF, bucket_hash)
        below = leaves
        for level in self._levels[1:]:
            touched = dict.fromkeys([index >> 1 for index in touched])
            for index in touched:
                level[index] = hash_behind(BEGUN_NODE, below[2 * index] + below[2 * index + 1])
            below = level

    def prove(self, key: bytes) -> MembershipProof:
        """The proof, under the current root, of ``key``'s value or of its absence."""
        return self.prove_bucket(compute_bucket_index(key, self._bucket_count))

    def prove_bucket(self, index: int) -> MembershipProof:
        """The proof of the whole bucket ``index``, under the current root."""
        assert 0 <= index < self._bucket_count, "the bucket to prove is in the tree"
        bucket = self._buckets.get(index)
        entries: tuple[tuple[bytes, bytes], ...] = ()
        if bucket is not None:
            hashes = [record[-DIGEST_BYTES:] for record in bucket.records]
            entries = tuple(zip(bucket.keys, hashes, strict=True))
        path = tuple(level[(index >> height) ^ 1] for height, level in enumerate(self._levels[:-1]))
        return MembershipProof(bucket=index, entries=entries, path=path)

    def bucket_items(self, index: int) -> tuple[bytes, ...]:
        """The keys in bucket ``index`` in byte order, for a snapshot that is cut by buckets."""
        bucket = self._buckets.get(index)
        return () if bucket is None else tuple(bucket.keys)


def validate_bucket_count(bucket_count: int) -> None:
    """Raise ``LocalError`` unless it is a power of two from 1 to ``MAX_BUCKET_COUNT``."""
    if not 1 <= bucket_count <= MAX_BUCKET_COUNT or bucket_count & (bucket_count - 1):
        raise LocalError(
            f"the number of state buckets is a power of two from 1 to {MAX_BUCKET_COUNT}, not {bucket_count}"
        )


def verify_membership(
    root: bytes, bucket_count: int, key: bytes, value: bytes | None, proof: MembershipProof
) -> None:
    """Raise ``RemoteError`` (``BAD_PROOF``) unless ``root`` holds ``value`` under ``key``.

    A ``value`` of ``None`` asks for the proof that ``key`` is absent.
    """
    if proof.bucket != compute_bucket_index(key, bucket_count):
        raise RemoteError("BAD_PROOF", "the proof is of another bucket than the key's")
    verify_bucket(root, bucket_count, proof)
    proved = dict(proof.entries).get(key)
    expected = None if value is None else hash_value(value)
    if proved != expected:
        raise RemoteError("BAD_PROOF", "the proof shows another value, or none, under the key")


def verify_bucket(root: bytes, bucket_count: int, proof: MembershipProof) -> None:
    """Raise ``RemoteError`` (``BAD_PROOF``) unless ``proof.entries`` are all that ``root`` holds in its bucket.

    The work is linear in the proof, whose size was bounded when it was decoded.
    """
    keys = [key for key, _ in proof.entries]
    if any(left >= right for left, right in zip(keys, keys[1:], strict=False)):
        raise RemoteError("BAD_PROOF", "the keys of the bucket are not in ascending order")
    hasher = _BUCKET.copy()
    for key, value_hash in proof.entries:
        if len(value_hash) != DIGEST_BYTES:
            raise RemoteError("BAD_PROOF", f"a value hash has {DIGEST_BYTES} bytes, not {len(value_hash)}")
        hasher.update(frame_part(key) + frame_part(value_hash))
    leaf_hash = compute_leaf_hash(hasher.digest())
    verify_inclusion(root, leaf_hash, proof.bucket, bucket_count, proof.path)
