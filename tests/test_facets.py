"""Facets: counts by value among the rows that meet a filter, as Python counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from cliphouse.errors import QueryError
from cliphouse.search.request import Request
from cliphouse.table import Table
from own_columns import DAYS, LANGUAGES, ROWS, SCORES, START, TAGS, load_own_columns


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    with Table(load_own_columns(tmp_path_factory.mktemp("facets"))) as opened:
        yield opened


def test_values_are_counted(table: Table) -> None:
    (found,) = table.facets(["language"], Request())
    assert {each.value: each.rows for each in found.values} == {"en": 15, "de": 15, "fr": 15}
    assert (found.nulls, found.others, found.bins) == (15, 0, ())
    (short,) = table.facets(["language"], Request(), most=2)
    assert (len(short.values), short.others) == (2, 15)


def test_every_item_of_a_list_counts(table: Table) -> None:
    (found,) = table.facets(["tags"], Request())
    expected = Counter(tag for tags in TAGS for tag in tags)
    assert {each.value: each.rows for each in found.values} == dict(expected)
    assert found.nulls == sum(not tags for tags in TAGS)


def test_numbers_and_times_have_bins(table: Table) -> None:
    numbers, times = table.facets(["aesthetic", "taken"], Request())
    known = [score for score in SCORES if score is not None]
    counts, edges = np.histogram(known, bins=20)
    assert [each.rows for each in numbers.bins] == counts.tolist()
    assert [each.low for each in numbers.bins] == pytest.approx(edges[:-1].tolist())
    assert numbers.nulls == ROWS - len(known)
    assert sum(each.rows for each in times.bins) == ROWS
    assert times.bins[0].low == START.timestamp()
    assert times.bins[-1].high == pytest.approx(DAYS[-1].timestamp())


def test_only_rows_that_meet_the_filter_count(table: Table) -> None:
    request = Request.read({"filter": {"aesthetic": {"min": 5}}, "where": "id % 2 = 0"})
    (found,) = table.facets(["language"], request)
    chosen = [n for n in range(0, ROWS, 2) if (SCORES[n] or 0) >= 5]
    expected = Counter(LANGUAGES[n] for n in chosen)
    nulls = expected.pop(None, 0)
    assert {each.value: each.rows for each in found.values} == dict(expected)
    assert found.nulls == nulls


@pytest.mark.parametrize("name", ["nothing", "image_embedding"])
def test_a_column_that_cannot_be_counted_is_named(table: Table, name: str) -> None:
    with pytest.raises(QueryError, match=f"facet {name}: the table has no such column to count"):
        table.facets([name], Request())


def test_no_row_meets_the_filter(table: Table) -> None:
    request = Request.read({"filter": {"aesthetic": {"min": 1000}}})
    for facet in table.facets(["language", "aesthetic", "tags"], request):
        assert (facet.values, facet.bins, facet.nulls) == ((), (), 0)
