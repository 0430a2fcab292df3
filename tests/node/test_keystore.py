"""The rules of key files: encrypted, private, never overwritten, and every refusal says what to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from node.keystore import (
    LIGHT_COST,
    STRONG_COST,
    create_devnet_key,
    create_key,
    export_pem,
    import_seed,
    load_seed,
    read_passphrase,
)
from primitives.errors import LocalError

SEED = bytes(range(32))
PASSPHRASE = "correct horse ☂".encode()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "validator.pem"
    create_key(path, SEED, PASSPHRASE, LIGHT_COST)
    return path


@pytest.mark.parametrize("cost", [LIGHT_COST, STRONG_COST])
def test_a_key_comes_back_with_its_passphrase_alone(tmp_path: Path, cost: object) -> None:
    path = tmp_path / "validator.pem"
    create_key(path, SEED, PASSPHRASE, STRONG_COST if cost is STRONG_COST else LIGHT_COST)
    assert load_seed(path, PASSPHRASE) == SEED
    assert SEED not in path.read_bytes()
    with pytest.raises(LocalError, match=r"validator.pem: the passphrase is wrong"):
        load_seed(path, PASSPHRASE + b"!")


def test_two_files_of_one_key_differ(key: Path) -> None:
    other = key.with_name("other.pem")
    create_key(other, SEED, PASSPHRASE, LIGHT_COST)
    assert other.read_bytes() != key.read_bytes()


def test_a_key_file_is_private_and_never_overwritten(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(LocalError, match="exists already and is never overwritten"):
        create_key(key, bytes(32), PASSPHRASE, LIGHT_COST)
    assert load_seed(key, PASSPHRASE) == SEED
    assert os.listdir(key.parent) == [key.name]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o602])
def test_a_key_open_to_others_is_refused_with_the_command_that_closes_it(key: Path, mode: int) -> None:
    key.chmod(mode)
    with pytest.raises(LocalError, match=f"open to others: run: chmod 600 {key}"):
        load_seed(key, PASSPHRASE)
    key.chmod(0o400)
    assert load_seed(key, PASSPHRASE) == SEED


def test_a_key_of_another_user_is_refused(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_242)
    with pytest.raises(LocalError, match=f"belongs to user {os.getuid()}: run: chown 4242 {key}"):
        load_seed(key, PASSPHRASE)


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(LocalError, match="cannot read"):
        load_seed(path, PASSPHRASE)
    with pytest.raises(LocalError, match="cannot read"):
        load_seed(tmp_path, PASSPHRASE)
    path.touch(0o600)
    for data in (
        b"",
        b"nonsense",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
    ):
        path.write_bytes(data)
        with pytest.raises(LocalError, match="is damaged, or no PEM key"):
            load_seed(path, PASSPHRASE)
    path.write_bytes(bytes(100_000))
    with pytest.raises(LocalError, match="is no key file"):
        load_seed(path, PASSPHRASE)
    path.write_bytes(export_pem(SEED))
    with pytest.raises(LocalError, match="is not encrypted: import it anew"):
        load_seed(path, PASSPHRASE)


def test_any_damaged_byte_of_a_key_is_a_local_error_and_never_another_key(key: Path) -> None:
    data = key.read_bytes()
    for position in range(0, len(data), 3):
        key.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with contextlib.suppress(LocalError):
            assert load_seed(key, PASSPHRASE) == SEED
    damaged = data.index(b"-----END") - 50
    key.write_bytes(data[:damaged] + bytes([data[damaged] ^ 1]) + data[damaged + 1 :])
    with pytest.raises(LocalError, match="is damaged"):
        load_seed(key, PASSPHRASE)


def test_other_kinds_of_keys_are_refused() -> None:
    pem = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(LocalError, match="holds a X25519PrivateKey, not an Ed25519 key"):
        import_seed(pem)


def test_seeds_are_imported_from_digits_and_pem() -> None:
    assert import_seed(SEED.hex().encode() + b"\n") == SEED
    assert import_seed(export_pem(SEED)) == SEED
    encrypted = load_pem_private_key(export_pem(SEED), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE)
    )
    assert import_seed(encrypted, PASSPHRASE) == SEED
    with pytest.raises(LocalError, match=r"key.pem: the key is encrypted: give its passphrase"):
        import_seed(encrypted, source="key.pem")
    for data in (b"", b"00" * 31, b"zz" * 32, b"\xff" * 64):
        with pytest.raises(LocalError, match="must be 64 hexadecimal digits or an Ed25519 key in PEM"):
            import_seed(data)


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="needs a passphrase"):
        create_key(tmp_path / "key", SEED, b"")


def test_a_devnet_key_opens_with_the_passphrase_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "validator.pem"
    create_devnet_key(path, SEED)
    beside = tmp_path / "validator.pem.passphrase"
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    assert load_seed(path, read_passphrase(path, {}, None)) == SEED
    beside.chmod(0o644)
    with pytest.raises(LocalError, match=f"chmod 600 {beside}"):
        read_passphrase(path, {}, None)


def test_the_passphrase_comes_from_the_named_file_first_and_from_the_prompt_last(tmp_path: Path) -> None:
    path = tmp_path / "validator.pem"
    asked: list[str] = []

    def prompt(question: str) -> str:
        asked.append(question)
        return "typed ☂"

    assert read_passphrase(path, {}, prompt) == "typed ☂".encode()
    assert asked == [f"Passphrase for {path}: "]
    create_devnet_key(path, SEED)
    named = tmp_path / "secret"
    named.touch(0o600)
    named.write_bytes(PASSPHRASE + b"\r\n")
    assert read_passphrase(path, {"RIALTO_PASSPHRASE_FILE": str(named)}, prompt) == PASSPHRASE
    assert len(asked) == 1
    named.write_bytes(b"\n")
    with pytest.raises(LocalError, match="the passphrase is empty"):
        read_passphrase(path, {"RIALTO_PASSPHRASE_FILE": str(named)}, prompt)
    with pytest.raises(LocalError, match="cannot read"):
        read_passphrase(path, {"RIALTO_PASSPHRASE_FILE": str(tmp_path / "missing")}, prompt)


def test_without_file_and_terminal_there_is_no_passphrase(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="set RIALTO_PASSPHRASE_FILE, or start from a terminal"):
        read_passphrase(tmp_path / "validator.pem", {}, None)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize("cost", ["light", "strong"])
def test_openssl_reads_what_we_write(tmp_path: Path, cost: str) -> None:
    path = tmp_path / "validator.pem"
    create_key(path, SEED, b"simple", STRONG_COST if cost == "strong" else LIGHT_COST)
    command = ["openssl", "pkey", "-in", str(path), "-passin", "pass:simple"]
    assert import_seed(subprocess.run(command, capture_output=True, check=True).stdout) == SEED
