"""The codes under which errors travel to other programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cliphouse import errors
from cliphouse.engine.error_translation import clean_message
from cliphouse.errors import CliphouseError, EngineError, error_class
from cliphouse.shards.partial_file import FileError

# Programs rely on these: a code that changes here is a change of the REST interface.
CODES = {
    "failure": "CliphouseError",
    "invalid": "UserError",
    "shard": "ShardError",
    "picture": "PictureError",
    "model": "ModelError",
    "query": "QueryError",
    "table": "TableError",
    "not_found": "MissingError",
    "overloaded": "OverloadError",
    "service": "ServiceError",
    "engine": "EngineError",
    "unreachable": "UnreachableError",
}
SERVE = Path(__file__).parent.parent / "docs" / "serve.md"
# A search service loads no shards, and asks no other service.
NOT_ANSWERED = {"shard", "service"}


def test_every_error_has_a_code_of_its_own() -> None:
    classes = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, CliphouseError)
    ]
    assert {kind.code: kind.__name__ for kind in classes} == CODES
    assert len(classes) == len(CODES)
    assert [error_class(kind.code) for kind in classes] == classes
    assert error_class("QueryError") is None


def test_errors_of_a_room_have_the_code_of_their_base() -> None:
    assert FileError("x").code == "failure"
    assert error_class("failure") is CliphouseError


def test_two_kinds_of_error_cannot_share_a_code() -> None:
    with pytest.raises(TypeError, match="EngineError has this code too"):
        type("OtherError", (CliphouseError,), {"code": EngineError.code})
    assert error_class(EngineError.code) is EngineError


def test_the_codes_are_documented() -> None:
    rows = re.findall(r"^\| [45]\d\d[^|]*\|([^|]*)\|", SERVE.read_text(), re.MULTILINE)
    documented = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert documented >= CODES.keys() - NOT_ANSWERED


def test_a_code_that_the_engine_repeats_is_said_once() -> None:
    nested = (
        "Code: 107. DB::Exception: Code: 107. DB::ErrnoException: Cannot open file /x/y.bin: , "
        "errno: 2, strerror: No such file or directory. (FILE_DOESNT_EXIST). (FILE_DOESNT_EXIST)"
        " (version 26.9.2.1)"
    )
    assert clean_message(nested) == (
        "Cannot open file /x/y.bin: , errno: 2, strerror: No such file or directory. "
        "(FILE_DOESNT_EXIST)"
    )
