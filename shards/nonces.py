"""Nonces of a signing key: the highest one used and a bitmap of the 512 up to it.

Bit i of the bitmap stands for ``highest − i``. A nonce is good when highest − 512 < n ≤ highest + 2**20 and its
bit is unset, so a client may keep hundreds in flight in any order, and a replay never passes.
"""

from __future__ import annotations

from typing import Final

from shards.accounts import Account
from shards.codes import ResultCode

WINDOW: Final = 512
MAX_ADVANCE: Final = 2**20
"""Keeps one mistaken nonce from using up all that the key will ever have."""
BITMAP_BYTES: Final = WINDOW // 8
_MASK: Final = (1 << WINDOW) - 1


def check_nonce(account: Account, nonce: int) -> ResultCode:
    """``OK`` or why not; changes nothing."""
    ahead = nonce - account.nonce_highest
    if ahead > 0:
        return ResultCode.NONCE_TOO_FAR if ahead > MAX_ADVANCE else ResultCode.OK
    if ahead <= -WINDOW:
        return ResultCode.NONCE_TOO_OLD
    return ResultCode.NONCE_USED if account.nonce_bitmap >> -ahead & 1 else ResultCode.OK


def use_nonce(account: Account, nonce: int) -> None:
    """Mark ``nonce`` as used; ``check_nonce`` has just answered ``OK``."""
    ahead = nonce - account.nonce_highest
    if ahead <= 0:
        account.nonce_bitmap |= 1 << -ahead
        return
    account.nonce_highest = nonce
    account.nonce_bitmap = (account.nonce_bitmap << ahead & _MASK | 1) if ahead < WINDOW else 1
