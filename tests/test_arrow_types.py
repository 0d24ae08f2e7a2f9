"""Values of types that Arrow does not have are those that the engine's own formats print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cliphouse.cli.values import value_text
from cliphouse.engine.arrays import cells
from cliphouse.table import Table

_ENUM = "Enum8('a' = 1, 'b, c' = -2)"
# Each type by name, and values of it, in SQL, with what they are in Python.
TYPES: dict[str, list[tuple[str, Any]]] = {
    "IPv4": [("'10.0.0.1'", "10.0.0.1"), ("'255.255.255.255'", "255.255.255.255")],
    "IPv6": [("'::1'", "::1"), ("'2001:db8::ff'", "2001:db8::ff")],
    _ENUM: [("'a'", "a"), ("'b, c'", "b, c")],
    "Enum16('long' = 1000)": [("'long'", "long")],
    "Int128": [("-7", "-7"), ("'170141183460469231731687303715884105727'", str(2**127 - 1))],
    "UInt256": [(f"'{2**256 - 1}'", str(2**256 - 1))],
    "BFloat16": [("1.5", 1.5), ("-0.25", -0.25)],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    folder = tmp_path_factory.mktemp("types") / "laion.chdb"
    folder.mkdir()
    with Table(folder) as opened:
        yield opened


@pytest.mark.parametrize("name", TYPES)
def test_a_value_is_what_it_stands_for(table: Table, name: str) -> None:
    """By itself, nullable, in a list, a tuple and a map."""
    for sql, wanted in TYPES[name]:
        value = f"CAST({sql}, '{name.replace(chr(39), chr(92) + chr(39))}')"
        (row,) = table.sql(
            f"SELECT {value} AS plain, toNullable({value}) AS maybe, if(1, NULL, {value}) AS none, "
            f"[{value}] AS listed, tuple({value}, 3) AS pair, map('key', {value}) AS mapped"
        ).to_pylist()
        assert row["plain"] == row["maybe"] == wanted
        assert row["none"] is None
        assert row["listed"] == [wanted]
        assert list(row["pair"].values()) == [wanted, 3]
        assert row["mapped"] == [("key", wanted)]


def test_a_time_has_its_zone(table: Table) -> None:
    found = table.sql(
        "SELECT toDateTime('2020-01-01 10:00:00', 'Asia/Tokyo') AS there, "
        "[toDateTime(0, 'UTC')] AS l"
    )
    assert str(found.schema.field("there").type) == "timestamp[s, tz=Asia/Tokyo]"
    (row,) = found.to_pylist()
    assert row["there"].isoformat() == "2020-01-01T10:00:00+09:00"
    assert row["l"][0].isoformat() == "1970-01-01T00:00:00+00:00"


def test_in_a_nested_column(table: Table) -> None:
    statement = "SELECT CAST([(1, '1.2.3.4')], 'Nested(a UInt8, ip IPv4)') AS n"
    assert table.sql(statement).to_pylist() == [{"n": [{"a": 1, "ip": "1.2.3.4"}]}]


def test_other_numbers_and_bytes_stay_as_they_are(table: Table) -> None:
    statement = "SELECT toInt8(-3) AS a, toUInt32(7) AS b, toFixedString('ab', 4) AS c, 'x' AS d"
    found = table.sql(statement)
    assert [column.to_pylist()[0] for column in found.columns] == [-3, 7, b"ab\0\0", "x"]
    assert [str(field.type) for field in found.schema][:2] == ["int8", "uint32"]
    assert table.sql("SELECT toIPv4('1.2.3.4') AS ip WHERE 0").num_rows == 0
    assert table.sql("SELECT {ip:IPv4} AS ip", {"ip": "1.2.3.4"}).to_pylist() == [{"ip": "1.2.3.4"}]


def test_they_are_what_the_engine_prints(table: Table) -> None:
    """As its JSON has them, which has texts for all of these."""
    columns = [
        f"CAST({sql}, '{name.replace(chr(39), chr(92) + chr(39))}') AS c{number}"
        for number, (name, values) in enumerate(TYPES.items())
        for sql, _ in values[:1]
    ]
    statement = f"SELECT {', '.join(columns)}"
    printed = json.loads(table.connection.raw(f"{statement} FORMAT JSONEachRow"))
    (row,) = table.sql(statement).to_pylist()
    assert {key: str(value) for key, value in row.items()} == {
        key: str(value) for key, value in printed.items()
    }


def test_values_are_drawn_as_the_engine_writes_them(table: Table) -> None:
    bits, number = "cityHash64(number, 1)", "toInt64(cityHash64(number, 2) % 1000000) - 500000"
    scale = "pow(10, toInt8(cityHash64(number, 3) % 40) - 15)"
    single = "reinterpret(toUInt32(bits), 'Float32')"
    names = "abcdefghijk"
    found = table.sql(
        f"WITH {bits} AS bits, {number} AS n, n / 1000 * {scale} AS b, toFloat32(b) AS c, "
        r"toDecimal64(n / 100, 4) AS f, ['it''s \n\t\\', ''] AS g "
        f"SELECT {single} AS a, b, c, reinterpret(bits, 'Float64') AS d, "
        "[c, a, NULL] AS e, f, g, (b, 'x', NULL) AS h, map(n, [c]) AS i, tuple(n > 0) AS j, "
        f"[toDate(n % 9999 + 20000)] AS k, [{', '.join(f'toString({n})' for n in names)}] "
        "AS expected FROM numbers(500)"
    )
    drawn = [[value_text(v, found[n].type) for v in cells(found[n])] for n in names]
    assert list(map(list, zip(*drawn, strict=True))) == found["expected"].to_pylist()
