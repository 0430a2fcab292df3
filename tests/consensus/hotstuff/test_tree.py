"""The tree of entries: paths, what is missing from them, and its bounds."""

from __future__ import annotations

from consensus.hotstuff.messages import Entry, compute_entry_id
from consensus.hotstuff.tree import MAX_BRANCHES, EntryTree
from primitives.hashing import ZERO_DIGEST


def _grow(slots: int, salt: int = 0) -> list[Entry]:
    entries: list[Entry] = []
    prior = ZERO_DIGEST
    for slot in range(1, slots + 1):
        entries.append(Entry(slot, bytes([salt, slot]) * 16, prior))
        prior = compute_entry_id(entries[-1])
    return entries


def test_a_path_leads_down_to_the_height() -> None:
    tree = EntryTree(0, 8)
    entries = _grow(4)
    for entry in entries:
        assert tree.learn(entry) == ()
    path = tree.trace(entries[-1])
    assert path.entries == tuple(entries)
    assert path.missing is None
    tree.settle(2)
    assert tree.trace(entries[-1]).entries == tuple(entries[2:])
    assert tree.trace(entries[0]).entries == ()
    assert len(tree) == 2


def test_a_path_names_what_is_missing() -> None:
    tree = EntryTree(0, 8)
    entries = _grow(4)
    tree.learn(entries[3])
    tree.learn(entries[0])
    path = tree.trace(entries[3])
    assert path.entries == (entries[3],)
    assert path.missing == compute_entry_id(entries[2])
    tree.learn(entries[2])
    assert tree.trace(entries[3]).missing == compute_entry_id(entries[1])
    tree.learn(entries[1])
    assert tree.trace(entries[3]).missing is None


def test_the_top_of_a_path_need_not_be_known() -> None:
    entries = _grow(2)
    tree = EntryTree(0, 8)
    assert tree.trace(entries[1]).missing == compute_entry_id(entries[0])
    assert tree.trace(entries[0]).missing is None


def test_what_is_settled_known_or_far_off_is_not_learned() -> None:
    tree = EntryTree(1, 2)
    entries = _grow(5)
    assert tree.learn(entries[0]) is None
    assert tree.learn(entries[4]) is None
    assert tree.learn(entries[1]) == ()
    assert tree.learn(entries[1]) is None


def test_branches_of_a_slot_are_bounded_the_oldest_go() -> None:
    tree = EntryTree(0, 8)
    branches = [_grow(1, salt)[0] for salt in range(MAX_BRANCHES + 3)]
    gone = [old for entry in branches for old in (tree.learn(entry) or ())]
    assert gone == branches[:3]
    assert len(tree) == MAX_BRANCHES


def test_an_entry_whose_prior_is_of_another_slot_has_no_path() -> None:
    """Honest voters make none; a path of fewer entries than slots would decide slots that it skips."""
    tree = EntryTree(0, 8)
    (first,) = _grow(1)
    tree.learn(first)
    odd = Entry(3, ZERO_DIGEST, compute_entry_id(first))
    assert tree.trace(odd).missing == compute_entry_id(first)
