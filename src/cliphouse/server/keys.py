"""API keys: only their hashes are kept, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path

from cliphouse.errors import UserError

MIN_LENGTH = 16  # keys are random, not words: a hash without salt is then as good as one with


def hash_key(key: str) -> str:
    """SHA-256 of a key, in hexadecimal. Raises UserError where the key is too short to be one."""
    if len(key) < MIN_LENGTH:
        raise UserError(
            f"an API key has {len(key)} characters; it needs {MIN_LENGTH}, as from: "
            "openssl rand -hex 24"
        )
    return _digest(key)


def read_key_file(path: Path) -> tuple[str, ...]:
    """The hashes in a file, one a line, as ``sha256sum`` prints them; what follows a hash is a
    note, and ``#`` begins a comment.

    Raises UserError where the file cannot be read, or holds anything else, such as a bare key.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
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
    """The keys that open a service; with none, it is open."""

    def __init__(self, hashes: Sequence[str]) -> None:
        self._hashes = tuple(hashes)

    @property
    def is_open(self) -> bool:
        return not self._hashes

    def recognise(self, key: str) -> str | None:
        """A short name for a key that is one of them, fit for a log; None for any other. Every
        hash is compared, so that the time tells nothing."""
        digest = _digest(key)
        matches = [hmac.compare_digest(digest, known) for known in self._hashes]
        return digest[:8] if any(matches) else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
