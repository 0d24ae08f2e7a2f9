"""API keys. The service keeps only their hashes and compares them in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path

from cliphouse.errors import UserError

MIN_LENGTH = 16  # keys are random, so their hashes need no salt


def hash_key(key: str) -> str:
    """The SHA-256 hash of a key in hexadecimal. Raises UserError if the key is too short."""
    if len(key) < MIN_LENGTH:
        raise UserError(
            f"an API key has {len(key)} characters; it needs {MIN_LENGTH}, as from: "
            "openssl rand -hex 24"
        )
    return _digest(key)


def read_key_file(path: Path) -> tuple[str, ...]:
    """Read the hashes in a file, one per line, as ``sha256sum`` prints them.

    The rest of a line is a note. ``#`` begins a comment. Raises UserError if the file cannot be
    read or contains anything else, such as a plain key.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    hashes = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
            raise UserError(
                f"{path}, line {number}: no SHA-256 hash in hexadecimal; make one with: "
                'printf %s "$KEY" | sha256sum'
            )
        hashes.append(words[0].lower())
    if not hashes:
        raise UserError(f"{path}: holds no keys")
    return tuple(hashes)


class KeyRing:
    """The API keys that a service accepts. Without keys it is open to everyone."""

    def __init__(self, hashes: Sequence[str]) -> None:
        self._hashes = tuple(hashes)

    @property
    def is_open(self) -> bool:
        return not self._hashes

    def recognise(self, key: str) -> str | None:
        """A short name of a valid key for the log, or None for any other key.

        It compares every hash, so that the time reveals nothing.
        """
        digest = _digest(key)
        matches = [hmac.compare_digest(digest, known) for known in self._hashes]
        return digest[:8] if any(matches) else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
