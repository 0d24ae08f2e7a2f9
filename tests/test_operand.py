"""One thing searched for: what people type, what programs give, and what travels as JSON."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cliphouse import Operand
from cliphouse.errors import PictureError, QueryError
from cliphouse.search.query.operand import (
    one_query,
    operands_of,
    parse_operand,
    spell_operand,
    to_operand,
)
from cliphouse.search.query.wire import operand_from_json, operand_to_json


@pytest.mark.parametrize(
    ("text", "operand"),
    [
        ("a cat", Operand(words="a cat")),
        ("2:cat", Operand(words="cat", weight=2)),
        (" 0.5:id:7", Operand(id=7, weight=0.5)),
        (" id:-3 ", Operand(id=-3)),
        ("ID: 5", Operand(id=5)),
        ("id: the film", Operand(words="id: the film")),
        ("text:id:x", Operand(words="id:x")),
        ("2:text:a.jpg", Operand(words="a.jpg", weight=2)),
        ("text: and pictures", Operand(words="text: and pictures")),
        ("3: a cat", Operand(words="3: a cat")),
        ("1:2:30 to Paris", Operand(words="2:30 to Paris")),
        ("-2:cat", Operand(words="-2:cat")),
        ("https://x.org/a.jpg", Operand(picture_url="https://x.org/a.jpg")),
        ("image:HTTPS://x.org/a", Operand(picture_url="HTTPS://x.org/a")),
        ("2:http://x.org/page", Operand(picture_url="http://x.org/page", weight=2)),
        ("https://x.org is a site", Operand(words="https://x.org is a site")),
        ("cat/dog", Operand(words="cat/dog")),
        ("/imagine a cat", Operand(words="/imagine a cat")),
        ("photo of the U.S. flag, 3.5 x 2", Operand(words="photo of the U.S. flag, 3.5 x 2")),
        ("a/" + "b" * 400, Operand(words="a/" + "b" * 400)),
        ("where is my dog.jpg?", Operand(words="where is my dog.jpg?")),
        ("red - blue", Operand(words="red - blue")),
        ("a/\0", Operand(words="a/\0")),
    ],
)
def test_what_people_type(text: str, operand: Operand) -> None:
    assert parse_operand(text) == operand


def test_an_existing_file_is_a_picture_or_a_vector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("photo", "a b.jfif", "2:cat.jpg", "IMG_1.HEIC", "v.npy", "many.npz")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert parse_operand(f"2:{tmp_path}/photo").picture == tmp_path / "photo"
    assert parse_operand("~/photo").picture == tmp_path / "photo"
    assert parse_operand("~/v.npy").vector == tmp_path / "v.npy"
    assert parse_operand("photo").picture == Path("photo")
    assert parse_operand("text:photo").words == "photo"
    assert parse_operand("image:photo").picture == Path("photo")
    assert parse_operand(" a b.jfif ").picture == Path("a b.jfif")
    assert parse_operand("2:cat.jpg") == Operand(picture=Path("2:cat.jpg"))
    assert parse_operand("IMG_1.HEIC").picture == Path("IMG_1.HEIC")
    assert parse_operand("3:v.npy") == Operand(vector=Path("v.npy"), weight=3)
    assert parse_operand(f"file://{tmp_path}/a%20b.jfif").picture == tmp_path / "a b.jfif"
    assert parse_operand(f"file://localhost{tmp_path}/v.npy").vector == tmp_path / "v.npy"
    assert parse_operand("many.npz").vector == Path("many.npz")
    assert parse_operand("photos").words == "photos"
    assert parse_operand("cat/photo").words == "cat/photo"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "no such file") for text in ("a.JPG", "missing.HEIC", "b/v.npy", "my cat.jfif")),
        *(
            (text, "no such file")
            for text in ("vector.npz", "C:\\pics\\a.jpg", "d:/x y", "\\\\a\\b")
        ),
        *((text, "no such file") for text in ("./photo", "../a b", "/no/such", "/none", "photos/")),
        *((text, "no such file") for text in ("~/none", "~nobody-of-this-name/x", "pics\\a")),
        *((text, "no such file") for text in ("file:///none.png", "file://host/a.png", "3:a.png")),
        *((text, "no such file") for text in ("dog.jpg?x=1", "b/dog.PNG#a", "a?b.jpg")),
        *((text, "a device or a pipe") for text in ("/dev/null", "2:/dev/null", "pipe")),
        *((text, "is behind it") for text in ("2:", " 0.5: ", "text:", "image:", "2:text:")),
        ("-", "standard input is read by --queries alone"),
        *((text, "a folder") for text in (".", "..", "/", "~", "here", "2:here", "./here")),
        *((text, "a row is id:N") for text in ("id:abc", "ID:", "id:5.5", "id:" + "9" * 30)),
        *((text, "begins with http") for text in ("ftp://x.org/a", "s3://b/a.jpg", "https://")),
        *((text, "begins with http") for text in ("data:image/png;base64,AA==", "www.x.org")),
    ],
)
def test_what_looks_like_more_than_words_is_refused(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QueryError, match=reason) as refused:
        parse_operand(text)
    assert "to search for these words, write text: in front of them" in str(refused.value)
    bare = text.partition(":")[2] if re.match("[23]:.", text) else text.strip()
    assert parse_operand(f"text:{bare}") == Operand(words=bare)
    with pytest.raises(QueryError):
        parse_operand(f"image:{bare}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  ", "the query is empty"),
        ("0.0:cat", r"0\.0:cat: a weight is more than 0 and up to 1,000"),
        ("1001:cat", "a weight is more than 0 and up to 1,000"),
        ("id:9999999999999999999", "id:9999999999999999999: no row has such a number"),
    ],
)
def test_text_that_is_no_query(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse_operand(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "this one has nothing"),
        ({"words": "x", "id": 1}, "this one has words and id"),
        ({"words": " "}, "the words are empty"),
        ({"id": 1, "weight": 0}, "weight of 0"),
        ({"id": 1, "weight": math.nan}, "a weight of nan"),
        ({"id": 1, "weight": -1001}, "it must be -1,000 to 1,000"),
    ],
)
def test_an_operand_is_one_thing(given: dict[str, object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Operand(**given)  # type: ignore[arg-type]


def test_a_sum_has_signs() -> None:
    red = Operand(words="red", weight=0.25)
    assert operands_of("2:cat", add=["id:3"], subtract=["3:dog", red]) == (
        Operand(words="cat", weight=2),
        Operand(id=3),
        Operand(words="dog", weight=-3),
        Operand(words="red", weight=-0.25),
    )
    assert one_query("2:cat") == (Operand(words="cat", weight=2),)
    assert one_query([red, red]) == (red, red)
    assert one_query([1.0, 2.0]) == (Operand(vector=[1.0, 2.0]),)


_WEIGHTS = st.integers(1, 100_000).map(lambda n: n / 100)
_WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text.strip() and "/" not in text
)


@given(
    st.one_of(
        st.builds(Operand, words=_WORDS, weight=_WEIGHTS),
        st.builds(Operand, id=st.integers(-(2**63), 2**63 - 1), weight=_WEIGHTS),
    )
)
def test_what_is_spelled_is_read_as_the_same(operand: Operand) -> None:
    text = spell_operand(operand)
    assert text is not None
    read = parse_operand(text)
    assert (read.id, read.weight) == (operand.id, operand.weight)
    # A weight in front takes the blanks around the words.
    assert (read.words or "").strip() == (operand.words or "").strip()


def test_words_that_look_like_more_are_spelled_as_words() -> None:
    for words in ("id:3", "id:x", "https://x.org/a", "a cat.jpg", "v.npy", "./a", "text:a"):
        assert spell_operand(Operand(words=words)) == f"text:{words}"
    assert spell_operand(Operand(words="id:3", weight=-2)) == "2:text:id:3"
    assert spell_operand(Operand(picture="a b.jpg", weight=-2)) == "2:a b.jpg"
    assert spell_operand(Operand(vector=(1.0, 2.0))) is None


def test_json_holds_what_the_files_hold(tmp_path: Path) -> None:
    vector = np.arange(1, 4, dtype=np.float32)
    np.save(tmp_path / "v.npy", vector[None])
    Image.new("RGB", (3, 2), "red").save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()

    def sent(query: object) -> Operand:
        text = json.dumps(operand_to_json(to_operand(query)))  # type: ignore[arg-type]
        return operand_from_json(json.loads(text))

    assert sent("2:id:5") == Operand(id=5, weight=2)
    assert sent(Operand(words="id:5", weight=-1)) == Operand(words="id:5", weight=-1)
    assert sent("https://x.org/a.jpg") == Operand(picture_url="https://x.org/a.jpg")
    assert sent(tmp_path / "v.npy") == sent(vector) == Operand(vector=(1.0, 2.0, 3.0))
    assert sent(str(tmp_path / "a.png")) == Operand(picture=data) == sent(Operand(picture=data))
    with Image.open(io.BytesIO(sent(Image.new("RGB", (3, 2), "red")).picture)) as picture:  # type: ignore[arg-type]
        assert (picture.size, picture.getpixel((0, 0))) == ((3, 2), (255, 0, 0))


def test_what_cannot_be_sent_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "words.npy", np.array(["x", "y"]))
    np.savez(tmp_path / "two.npz", np.ones(3), np.ones(3))
    for query, kind, message in (
        (tmp_path / "none.npy", QueryError, "none.npy: no such file"),
        (tmp_path / "two.npz", QueryError, "two.npz: an archive of arrays; save the vector alone"),
        (tmp_path / "words.npy", QueryError, "words.npy: no numbers"),
        (tmp_path / "none.jpg", PictureError, "none.jpg: cannot be read: No such file"),
        (np.array([1.0, np.nan]), QueryError, "NaN or infinity"),
        ([[1.0], [1.0, 2.0]], QueryError, "its rows differ in length"),
    ):
        with pytest.raises(kind, match=message):
            operand_to_json(to_operand(query))  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="not in base64"):
        operand_from_json({"picture": "?"})


def test_base64_may_come_in_lines() -> None:
    data = bytes(range(256))
    text = base64.encodebytes(data).decode().replace("\n", "\r\n")
    for sent in (text, f"data:image/png;base64,{text}"):
        assert operand_from_json({"picture": sent}) == Operand(picture=data)
