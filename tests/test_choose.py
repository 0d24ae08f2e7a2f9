"""Which way a search takes, from given measurements: no engine is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cliphouse.cluster.placement import Placement
from cliphouse.engine.features import LIMIT, MULTIPLIER, USE_CODES, WIDTH, Features, Setting
from cliphouse.errors import QueryError
from cliphouse.schema.facts import TableFacts, VectorIndex
from cliphouse.schema.info import TableInfo
from cliphouse.search.planner import choose
from cliphouse.search.request import Request
from cliphouse.vocabulary import Measured

KIND = "vector_similarity('hnsw', 'cosineDistance', 512, 'bf16', 32, 128)"
TARGETS = {"text": 0.95, "image": 0.99}


def measured(
    query: str, mode: str, width: int, recall: float, ms: float, k: int = 10, error: float = 0.0
) -> Measured:
    index = {"hnsw": KIND, "codes": "rabitq", "exact": ""}[mode]
    return Measured(
        "image", query, mode, width, k, recall, ms, 100, 1000, index,  # type: ignore[arg-type]
        standard_error=error, target=TARGETS[query],
    )  # fmt: skip


FIGURES = (
    measured("text", "exact", 0, 1.0, 50),
    measured("text", "hnsw", 64, 0.60, 3),
    measured("text", "hnsw", 512, 0.955, 9, error=0.008),
    measured("text", "hnsw", 768, 0.97, 12, error=0.008),
    measured("text", "hnsw", 2048, 0.99, 11, error=0.001),
    measured("image", "exact", 0, 1.0, 50),
    measured("image", "hnsw", 64, 0.98, 3),
    measured("image", "hnsw", 128, 0.995, 4),
)
INFO = TableInfo("ViT-B/32", 512, "float32", ("image", "text"), FIGURES)
COLUMNS = ("id", "image_embedding", "text_embedding")
INDEX = VectorIndex("image_index", "image_embedding", KIND)
FACTS = TableFacts(INFO, COLUMNS, (INDEX,), 1000, 1000, True, Placement("laion", "laion"))


def with_figures(*figures: Measured, codes: str = "none", rows: int = 1000) -> TableFacts:
    info = replace(INFO, measured=figures, codes=codes)  # type: ignore[arg-type]
    return replace(FACTS, info=info, rows=rows)


@pytest.mark.parametrize(
    ("request_", "kind", "mode", "width", "recall"),
    [
        # 512 reaches 0.95 only within the error of measuring.
        (Request(), "text", "hnsw", 768, 0.97),
        (Request(), "image", "hnsw", 128, 0.995),
        (Request(), "vector", "hnsw", 768, 0.97),
        (Request(), "mixed", "hnsw", 768, 0.97),
        (Request(k=100), "text", "exact", None, 1.0),
        (Request(k=5, offset=6), "text", "exact", None, 1.0),
        (Request(modality="text"), "text", "exact", None, 1.0),
        (Request(metric="l2"), "text", "exact", None, 1.0),
        (Request(mode="exact"), "text", "exact", None, 1.0),
        (Request(mode="hnsw"), "text", "hnsw", 768, 0.97),
        (Request(mode="hnsw", ef=64), "text", "hnsw", 64, 0.60),
        (Request(mode="hnsw", ef=99), "text", "hnsw", 99, None),
        (Request(mode="hnsw", ef=5, k=20), "text", "hnsw", 20, None),
    ],
)
def test_auto_takes_the_narrowest_width_that_reaches_the_target(
    request_: Request, kind: str, mode: str, width: int | None, recall: float | None
) -> None:
    plan = choose(request_, kind, FACTS)
    assert (plan.mode, plan.width, plan.recall) == (mode, width, recall)


def test_auto_is_exact_where_exact_is_faster_or_nothing_good_is_measured() -> None:
    slow = (measured("text", "exact", 0, 1.0, 2), measured("text", "hnsw", 64, 0.99, 3))
    poor = (measured("text", "exact", 0, 1.0, 9), measured("text", "hnsw", 64, 0.9, 3))
    for figures, reason in (
        (slow, "faster than anything else"),
        (poor, "no measured width reaches recall 0.95"),
        ((), "recall is not measured: run cliphouse recall --save"),
    ):
        plan = choose(Request(), "text", with_figures(*figures))
        assert plan.mode == "exact"
        assert reason in plan.reason
    other = replace(FACTS, indexes=(replace(INDEX, type=KIND.replace("32", "64")),))
    assert choose(Request(), "text", other).mode == "exact"
    assert "no index" in choose(Request(), "text", replace(FACTS, indexes=())).reason
    assert "k up to 10" in choose(Request(k=11), "text", FACTS).reason


def test_codes_win_where_they_are_faster() -> None:
    codes = measured("text", "codes", 100, 0.96, 5)
    for kept, mode in (("rabitq", "codes"), ("turboquant", "hnsw"), ("none", "hnsw")):
        plan = choose(Request(), "text", with_figures(*FIGURES, codes, codes=kept))
        assert plan.mode == mode
    assert choose(Request(mode="codes"), "text", with_figures(codes, codes="rabitq")).width == 100
    with pytest.raises(QueryError, match="keeps no codes: they are chosen when it is made"):
        choose(Request(mode="codes"), "text", FACTS)
    with pytest.raises(QueryError, match="cosine distance only"):
        choose(Request(mode="codes", metric="l2"), "text", with_figures(codes="rabitq"))


def test_a_huge_table_uses_its_index_even_unmeasured_and_says_so() -> None:
    plan = choose(Request(), "text", with_figures(rows=400_000_000))
    assert (plan.mode, plan.width, plan.recall) == ("hnsw", 2048, None)
    assert "not measured" in plan.reason
    figures = (
        FIGURES[0],
        measured("text", "hnsw", 64, 0.6, 3),
        measured("text", "hnsw", 999, 0.9, 9),
    )
    known = tuple(replace(entry, rows=400_000_000) for entry in figures)
    best = choose(Request(), "text", with_figures(*known, rows=400_000_000))
    assert (best.mode, best.width, best.recall) == ("hnsw", 999, 0.9)
    assert "no measured width reaches recall 0.95" in best.reason


@pytest.mark.parametrize(
    ("request_", "kind", "share", "mode", "width"),
    [
        (Request(), "image", 0.5, "hnsw", 256),
        (Request(), "image", 0.1, "hnsw", 1280),
        (Request(), "image", 0.005, "exact", None),  # too wide
        (Request(), "text", 0.5, "hnsw", 1536),
        (Request(), "text", 0.06, "exact", None),  # slower than exact
        (Request(mode="hnsw", ef=64), "text", 0.1, "hnsw", 640),
        (Request(mode="hnsw", ef=64), "text", 0.001, "exact", None),
    ],
)
def test_a_filter_widens_the_search_or_makes_it_exact(
    request_: Request, kind: str, share: float, mode: str, width: int | None
) -> None:
    plan = choose(request_, kind, FACTS, share)
    assert (plan.mode, plan.width) == (mode, width)
    assert plan.filtered


def test_figures_for_more_rows_say_how_much_wider_a_filter_makes_a_search() -> None:
    """10 rows and three standard deviations, 19.49, pass a filter of a half among the nearest
    38.97; ef 768 is good for 10 and 1,536 for 100, so 1,015 for them."""
    more = (
        measured("text", "exact", 0, 1.0, 50, k=100),
        measured("text", "hnsw", 1024, 0.94, 14, k=100),
        measured("text", "hnsw", 1536, 0.96, 15, k=100),
    )
    facts = with_figures(*FIGURES, *more)
    plan = choose(Request(), "text", facts, 0.5)
    assert (plan.mode, plan.width) == ("hnsw", 1016)
    assert choose(Request(), "text", facts).width == 768
    assert choose(Request(k=100), "text", facts).width == 1536
    # 216.5 rows: along the same line. The filter of a half is as wide for a mode asked for.
    assert choose(Request(), "text", facts, 0.09).width == 2531
    assert choose(Request(mode="hnsw"), "text", facts, 0.5).width == 1016
    # A width asked for holds for a search without a filter.
    assert choose(Request(mode="hnsw", ef=100), "text", facts, 0.5).width == 200
    # Measured narrower for more rows, by the error: no narrower, and twice as many as are needed.
    odd = with_figures(*FIGURES, measured("text", "hnsw", 512, 0.97, 15, k=100))
    assert choose(Request(), "text", odd, 0.5).width == 768
    assert choose(Request(), "text", odd, 0.03).width == 1300


def test_no_search_through_an_index_is_expected_to_be_slower_than_an_exact_one() -> None:
    """Also if the mode is asked for, but not with a width of its own."""
    quick = (measured("text", "exact", 0, 1.0, 13), *FIGURES[1:])
    facts = with_figures(*quick)
    for mode in ("auto", "hnsw"):
        plan = choose(Request(mode=mode), "text", facts, 0.5)  # type: ignore[arg-type]
        assert plan.mode == "exact"
        assert "faster than the index with this filter" in plan.reason
        assert choose(Request(mode=mode), "text", facts).mode == "hnsw"  # type: ignore[arg-type]
    assert choose(Request(mode="hnsw", ef=768), "text", facts, 0.5).mode == "hnsw"


def test_a_coarse_graph_is_not_filtered_through() -> None:
    coarse = replace(FACTS, indexes=(replace(INDEX, type=KIND.replace("bf16", "b1")),))
    assert choose(Request(mode="hnsw"), "image", coarse, 0.5).mode == "exact"
    eight = replace(FACTS, indexes=(replace(INDEX, type=KIND.replace("bf16", "i8")),))
    assert choose(Request(mode="hnsw"), "image", eight, 0.5).mode == "hnsw"
    for kind in ("i8", "f32"):
        assert replace(INDEX, type=KIND.replace("bf16", kind)).quantization == kind
    short = "vector_similarity('hnsw', 'cosineDistance', 512)"
    assert replace(INDEX, type=short).quantization == "bf16"


def test_figures_of_another_table_do_not_count() -> None:
    """One that has grown since, and one whose graph is gone."""
    grown = choose(Request(), "text", replace(FACTS, rows=1101))
    assert grown.mode == "exact"
    assert "measured on 1,000 rows, and there are 1,101" in grown.reason
    assert choose(Request(), "text", replace(FACTS, rows=1100)).mode == "hnsw"
    bare = replace(FACTS, indexes=(replace(INDEX, is_built=False),))
    assert "image_index has no graph" in choose(Request(), "text", bare).reason
    assert choose(Request(), "text", bare).mode == "exact"


def test_codes_compare_as_many_rows_for_fewer_hits() -> None:
    facts = with_figures(measured("text", "codes", 50, 0.96, 5), FIGURES[0], codes="rabitq")
    for k, width in ((10, 50), (5, 100), (3, 167), (1, 500)):
        for mode in ("auto", "codes"):
            plan = choose(Request(k=k, mode=mode), "text", facts)  # type: ignore[arg-type]
            assert (plan.mode, plan.width, plan.recall) == ("codes", width, 0.96)
    narrow = choose(Request(k=5, mode="codes", oversampling=50), "text", facts)
    assert narrow.recall is None
    wide = with_figures(measured("text", "codes", 200, 0.96, 5), FIGURES[0], codes="rabitq")
    assert choose(Request(k=1), "text", wide).mode == "exact"  # the engine's limit is 1,000


def test_a_filtered_graph_has_no_measured_recall() -> None:
    plan = choose(Request(), "image", FACTS, 0.5)
    assert plan.recall is None
    assert "recall was measured without a filter, as 0.995" in plan.filtered
    for share, told in (
        *((0.5 / FACTS.rows, "hardly any"), (0.00001, "hardly any"), (1.0, "nearly all")),
        *((0.5, "about 50.00%"), (0.994, "about 99.40%")),
    ):
        filtered = choose(Request(), "image", FACTS, share).filtered
        assert filtered is not None
        assert filtered.startswith(f"{told} of the rows pass; ")


def allowed(**settings: Setting) -> Features:
    """A server that lets this user change all settings of searches but these."""
    free = {WIDTH: "256", LIMIT: "1000", MULTIPLIER: "1", USE_CODES: "0"}
    return Features(settings={name: Setting(value) for name, value in free.items()} | settings)


@pytest.mark.parametrize(
    ("width", "request_", "mode", "taken", "recall"),
    [
        # Fixed at a width that was measured: it is taken where it is good, with its figure.
        (Setting("768", False), Request(), "hnsw", 768, 0.97),
        (Setting("512", False), Request(), "exact", None, 1.0),
        (Setting("64", False), Request(), "exact", None, 1.0),
        # Fixed at one that was not: nothing is known of it.
        (Setting("256", False), Request(), "exact", None, 1.0),
        (Setting("256", False), Request(mode="hnsw"), "hnsw", 256, None),
        (Setting("768", False), Request(mode="hnsw"), "hnsw", 768, 0.97),
        # Limited: what is wider is out of reach.
        (Setting("256", True, most=700), Request(), "exact", None, 1.0),
        (Setting("256", True, most=1000), Request(), "hnsw", 768, 0.97),
        (Setting("256", True, least=800), Request(), "hnsw", 2048, 0.99),
    ],
)
def test_a_width_that_a_server_fixes_or_limits(
    width: Setting, request_: Request, mode: str, taken: int | None, recall: float | None
) -> None:
    facts = replace(FACTS, features=allowed(**{WIDTH: width}))
    plan = choose(request_, "text", facts)
    assert (plan.mode, plan.width, plan.recall) == (mode, taken, recall)


def test_a_filter_that_needs_a_wider_search_than_is_allowed() -> None:
    facts = replace(FACTS, features=allowed(**{WIDTH: Setting("768", False)}))
    plan = choose(Request(mode="hnsw"), "text", facts, selectivity=0.5)
    assert plan.mode == "exact"
    assert "does not let this user" in plan.reason


def test_more_rows_than_the_server_lets_an_index_find() -> None:
    limited = allowed(**{LIMIT: Setting("100", False)})
    facts = replace(FACTS, features=limited)
    assert choose(Request(k=90, mode="hnsw", ef=128), "text", facts).mode == "hnsw"
    with pytest.raises(QueryError, match="ask for fewer rows"):
        choose(Request(k=91, mode="hnsw", ef=128), "text", facts)


def test_codes_that_a_server_does_not_let_be_used() -> None:
    figures = (measured("text", "exact", 0, 1.0, 50), measured("text", "codes", 20, 0.99, 3))
    facts = with_figures(*figures, codes="rabitq")
    assert choose(Request(), "text", facts).mode == "codes"
    forbidden = replace(facts, features=allowed(**{USE_CODES: Setting("0", False)}))
    assert choose(Request(), "text", forbidden).mode == "exact"
    with pytest.raises(QueryError, match="does not let this user search by codes"):
        choose(Request(mode="codes"), "text", forbidden)
