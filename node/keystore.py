"""A member's private key on disk: encrypted PKCS#8, readable by its owner alone, never overwritten.

Keys are written with PBES2, scrypt and AES-256-CBC (RFC 8018, RFC 7914), which ``openssl pkey`` reads. The
library's own ``BestAvailableEncryption`` derives its key with 2,048 rounds of PBKDF2 (0.4 ms a guess), so the few
lines of DER for scrypt are ours; reading is the library's, whatever wrote the file. The cost of a guess and of a
start is 16 MiB and a fifth of a second; a devnet's generated passphrase of 128 bits needs no stretching.

CBC has no integrity: a damaged file may decrypt to another key. So the public key stands in clear before the PEM
block (RFC 7468 §2 allows such text) and is compared after decrypting; it also tells an operator whose file it is.

What does not live here: signing (``primitives.signing``) and the libp2p identity made from the same seed
(``node.identity``).
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import stat
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from node.durable_files import PRIVATE_FILE_MODE, create_file
from primitives.errors import LocalError
from primitives.signing import SEED_BYTES

PASSPHRASE_VARIABLE: Final = "RIALTO_PASSPHRASE_FILE"
PASSPHRASE_SUFFIX: Final = ".passphrase"
MAX_KEY_FILE_BYTES: Final = 64 << 10
GENERATED_PASSPHRASE_BYTES: Final = 16
_PUBLIC_KEY_LINE: Final = re.compile(rb"^public key: (.{1,128})$", re.MULTILINE)
_DAMAGED: Final = "is damaged, or no PEM key: restore it from a backup"
_SALT_BYTES: Final = 16
_AES_BLOCK_BYTES: Final = 16
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

# Object identifiers as DER writes them.
_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT: Final = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")
_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_OCTETS: Final = 0x04


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """N and p of scrypt with r = 8: memory is N KiB, time grows with N·p."""

    n: int
    p: int


STRONG_COST: Final = ScryptCost(1 << 14, 5)
"""OWASP's choice for 16 MiB; OpenSSL reads no file that needs 32 MiB or more."""
LIGHT_COST: Final = ScryptCost(1 << 10, 1)
"""For passphrases that are random already."""


# --- keys --------------------------------------------------------------------------------------------------


def create_key(path: Path, seed: bytes, passphrase: bytes, cost: ScryptCost = STRONG_COST) -> None:
    """Write the encrypted key (0600), durably and atomically; raises ``LocalError``, also if it exists."""
    if not passphrase:
        raise LocalError(f"{path}: a key needs a passphrase that is not empty")
    create_file(path, _encrypt(seed, passphrase, cost), PRIVATE_FILE_MODE)


def create_devnet_key(path: Path, seed: bytes) -> None:
    """Write the key, and beside it the passphrase that was made up for it: convenient, and no secret from root."""
    passphrase = secrets.token_hex(GENERATED_PASSPHRASE_BYTES).encode()
    create_key(path, seed, passphrase, LIGHT_COST)
    create_file(_passphrase_path(path), passphrase + b"\n", PRIVATE_FILE_MODE)


def load_seed(path: Path, passphrase: bytes) -> bytes:
    """The 32-byte seed in an encrypted key file that only we can read; raises ``LocalError``."""
    return _parse_pem(_read_private(path), passphrase, str(path))


def import_seed(data: bytes, passphrase: bytes | None = None, source: str = "the imported key") -> bytes:
    """The seed in 64 hexadecimal digits or a PEM key, encrypted where ``passphrase`` is given.

    Raises ``LocalError``.
    """
    stripped = data.strip()
    if b"-----BEGIN" in stripped:
        return _parse_pem(stripped, passphrase, source)
    try:
        seed = bytes.fromhex(stripped.decode("ascii"))
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise LocalError(f"{source}: must be {2 * SEED_BYTES} hexadecimal digits or an Ed25519 key in PEM")
    return seed


def export_pem(seed: bytes) -> bytes:
    """The key as *unencrypted* PKCS#8 in PEM."""
    return _private_key(seed).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


# --- passphrases -------------------------------------------------------------------------------------------


def read_passphrase(key_path: Path, environment: Mapping[str, str], prompt: Callable[[str], str] | None) -> bytes:
    """The passphrase for ``key_path``, from the first of: the file that RIALTO_PASSPHRASE_FILE names, a file
    beside the key (devnets), the ``prompt`` (``None`` where there is no terminal).

    Raises ``LocalError`` where none has one, or where a file is readable by others.
    """
    named = environment.get(PASSPHRASE_VARIABLE)
    path = Path(named) if named else _passphrase_path(key_path)
    if named or path.exists():
        passphrase = _read_private(path).removesuffix(b"\n").removesuffix(b"\r")
    elif prompt is not None:
        passphrase = prompt(f"Passphrase for {key_path}: ").encode()
    else:
        raise LocalError(f"{key_path}: no passphrase: set {PASSPHRASE_VARIABLE}, or start from a terminal")
    if not passphrase:
        raise LocalError(f"{key_path}: the passphrase is empty")
    return passphrase


def _passphrase_path(key_path: Path) -> Path:
    return key_path.with_name(key_path.name + PASSPHRASE_SUFFIX)


def _read_private(path: Path) -> bytes:
    """The contents of a file that only its owner, us, can read; the open file is checked, not its name."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            _check_private(path, status)
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_KEY_FILE_BYTES:
        raise LocalError(f"{path} is no key file: it has more than {MAX_KEY_FILE_BYTES} bytes")
    return data


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise LocalError(f"{path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise LocalError(f"{path} belongs to user {status.st_uid}: run: chown {os.geteuid()} {path}")
    if status.st_mode & _OTHERS:
        raise LocalError(f"{path} is open to others: run: chmod 600 {path}")


# --- PKCS#8 ------------------------------------------------------------------------------------------------


def _private_key(seed: bytes) -> Ed25519PrivateKey:
    if len(seed) != SEED_BYTES:
        raise LocalError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
    return Ed25519PrivateKey.from_private_bytes(seed)


def _parse_pem(data: bytes, passphrase: bytes | None, source: str) -> bytes:
    try:
        key = load_pem_private_key(data, passphrase)
    except TypeError:
        # The library's way to say that exactly one of key and caller knows of a passphrase.
        state = "is encrypted: give its passphrase" if passphrase is None else "is not encrypted: import it anew"
        raise LocalError(f"{source}: the key {state}") from None
    except (ValueError, UnsupportedAlgorithm, InternalError) as error:
        if "password" in str(error).lower():
            raise LocalError(f"{source}: the passphrase is wrong") from None
        raise LocalError(f"{source}: {_DAMAGED}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise LocalError(f"{source}: holds a {type(key).__name__}, not an Ed25519 key")
    stated = _PUBLIC_KEY_LINE.search(data)
    if stated is not None and stated[1] != key.public_key().public_bytes_raw().hex().encode():
        raise LocalError(f"{source}: {_DAMAGED}")
    return key.private_bytes_raw()


def _encrypt(seed: bytes, passphrase: bytes, cost: ScryptCost) -> bytes:
    """EncryptedPrivateKeyInfo (RFC 5958 §3) with PBES2 parameters (RFC 8018 §A.4, RFC 7914 §7), as PEM."""
    key = _private_key(seed)
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    salt, vector = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_AES_BLOCK_BYTES)
    secret = Scrypt(salt, length=32, n=cost.n, r=8, p=cost.p).derive(passphrase)
    padder = PKCS7(8 * _AES_BLOCK_BYTES).padder()
    encryptor = Cipher(AES256(secret), CBC(vector)).encryptor()
    sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    numbers = b"".join(_encode_integer(number) for number in (cost.n, 8, cost.p))
    derivation = _SCRYPT + _encode_der(_SEQUENCE, _encode_der(_OCTETS, salt) + numbers)
    encryption = _AES_256_CBC + _encode_der(_OCTETS, vector)
    parameters = _encode_der(_SEQUENCE, derivation) + _encode_der(_SEQUENCE, encryption)
    algorithm = _PBES2 + _encode_der(_SEQUENCE, parameters)
    info = _encode_der(_SEQUENCE, _encode_der(_SEQUENCE, algorithm) + _encode_der(_OCTETS, sealed))
    text = "\n".join(textwrap.wrap(base64.b64encode(info).decode(), 64))
    return (
        f"public key: {key.public_key().public_bytes_raw().hex()}\n"
        f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{text}\n-----END ENCRYPTED PRIVATE KEY-----\n"
    ).encode()


def _encode_der(tag: int, content: bytes) -> bytes:
    """Tag, length, content (X.690 §8.1) for contents below 256 bytes, which is all that a key needs."""
    length = bytes([len(content)]) if len(content) < 128 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content


def _encode_integer(number: int) -> bytes:
    return _encode_der(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))
