"""The statement of a search. The query's vector is its parameter ``target``."""

from __future__ import annotations

from dataclasses import replace

from cliphouse.engine.features import GLOBAL_IN, SKIP_SHARDS
from cliphouse.engine.quoting import identifier, settings_list
from cliphouse.schema.columns import embedding_column
from cliphouse.schema.facts import DISTANCE, TableFacts
from cliphouse.search.condition import SCORE, Condition, every, typed_condition
from cliphouse.search.hits import ALWAYS, HitField, hit_fields
from cliphouse.search.methods import method_of
from cliphouse.search.methods.method import Plan, Settings, Stage
from cliphouse.search.option import OptionError
from cliphouse.search.order import Order
from cliphouse.search.planner import search_of
from cliphouse.search.query.parameter import decode_expression
from cliphouse.search.request import Request

# Names of the statement's own, which no table is likely to have: a condition may use its columns.
DISTANCE_NAME, SCORE_NAME, VECTOR_NAME = "query_distance", "query_score", "query_vector"

# Reading mapped pages without checksums halves an exact search (docs/benchmarks); only the
# embedded engine may be told so, since a server's disks are its own matter.
_EMBEDDED_READ: dict[str, int | str] = {
    "local_filesystem_read_method": "mmap",
    "min_bytes_to_use_mmap_io": 1,
    "checksum_on_read": 0,
}


def condition_of(request: Request, facts: TableFacts) -> Condition | None:
    """The condition on the rows that a search may find; None if it may find all.

    Raises QueryError if a filter needs a column that the table does not have, ConditionError if
    the condition in SQL is not a whole expression.
    """
    return every(
        typed_condition(request.where, {*facts.columns, SCORE}),
        request.filter.condition(facts.columns, facts.features.has_text_index)
        if request.filter
        else None,
        None if is_cut(request) or request.min_score is None else _least(request.min_score),
    )


def is_cut(request: Request) -> bool:
    """Whether ``min_score`` only cuts a list of hits short, since their scores fall along it. By
    another metric they need not, so that the engine has to compare them."""
    return request.min_score is not None and request.metric == "cosine"


def _least(score: float) -> Condition:
    sql = f"{SCORE} >= {{min_score:Float64}}"
    return Condition(sql, {"min_score": score}, is_on_score=True)


def search_sql(
    table: str,
    facts: TableFacts,
    request: Request,
    plan: Plan,
    limit: int,
    condition: Condition | None = None,
) -> str:
    """The statement that finds the ``limit`` nearest rows by ``plan``, with the query's
    vector as parameter ``target`` (see encode_parameter); with ``dedup`` their vectors too."""
    distance = _distance(request, facts)
    chosen = ", ".join(_chosen(facts, request, distance))
    where = f"WHERE {condition.sql}\n" if condition else ""
    order = f"{DISTANCE_NAME} ASC, id ASC"
    method = method_of(plan.mode)
    stage = Stage(
        limit,
        method.candidates(search_of(request), facts, limit),
        method.is_in_stages(facts, condition is not None),
    )
    if stage.is_own:
        passing = condition.sql if condition else "1"
        inner = condition
        if condition and condition.is_on_score:
            # With a condition on the distance, no index is used: it applies to the candidates.
            inner, stage = None, replace(stage, candidates=max(stage.candidates, plan.width or 0))
        candidates = _candidates(facts.placement.rows, distance, stage.candidates, inner)
        where = f"WHERE {passing} AND id IN (\n{candidates})\n"
    elif not method.sorts_by_id:
        # A second key would keep the engine from its two-stage searches.
        order = f"{DISTANCE_NAME} ASC"
    settings = {
        name: value
        for name, value in _settings(facts, plan, stage).items()
        if facts.features.may_set(name, value)
    }
    uses_score = condition is not None and condition.is_on_score
    named = f"WITH {_score(request, facts)} AS {SCORE}\n" if uses_score else ""
    return (
        f"{named}SELECT {chosen}\nFROM {identifier(table)}\n"
        f"{where}ORDER BY {order}\nLIMIT {limit}"
        + (f"\nSETTINGS {settings_list(settings)}" if settings else "")
    )


def shortlist_sql(
    table: str, facts: TableFacts, request: Request, rows: int, settings: Settings
) -> str:
    """The statement that lists the ids of the first ``rows`` candidates, the nearest first, with
    the settings that Method.shortlist returns and the query's vector as parameter ``target``."""
    free = {
        name: value
        for name, value in (_reading(facts) | settings).items()
        if facts.features.may_set(name, value)
    }
    return (
        f"SELECT id FROM {identifier(table)}\n"
        f"ORDER BY {_distance(request, facts)} ASC LIMIT {rows}"
        + (f"\nSETTINGS {settings_list(free)}" if free else "")
    )


def _candidates(rows: str, distance: str, count: int, condition: Condition | None) -> str:
    """The rows that the index finds and that pass the filter, by its own rounded distances; the
    statement around it compares them exactly. Each shard of a cluster has candidates of its own."""
    where = f" WHERE {condition.sql}" if condition else ""
    return f"    SELECT id FROM {rows}{where}\n    ORDER BY {distance} ASC LIMIT {count}\n"


def _distance(request: Request, facts: TableFacts) -> str:
    return _measure(DISTANCE[request.metric], request, facts)


def _score(request: Request, facts: TableFacts) -> str:
    return f"1 - {_measure(DISTANCE['cosine'], request, facts)}"


def _measure(function: str, request: Request, facts: TableFacts) -> str:
    target = decode_expression("target", facts.info.precision)
    return f"{function}({embedding_column(request.modality)}, {target})"


def _chosen(facts: TableFacts, request: Request, distance: str) -> list[str]:
    chosen = ["id", f"{distance} AS {DISTANCE_NAME}"]
    if request.metric != "cosine":
        chosen.append(f"{_score(request, facts)} AS {SCORE_NAME}")
    if request.dedup is not None:
        vector = f"CAST({embedding_column(request.modality)}, 'Array(Float32)')"
        chosen.append(f"{vector} AS {VECTOR_NAME}")
    shown = shown_fields(facts, request)
    return chosen + [field.quoted for field in shown if field.name in facts.columns]


def shown_fields(facts: TableFacts, request: Request) -> tuple[HitField, ...]:
    """The columns that the hits of a request show: those that it asks for and sorts by, or else all
    that hits show.

    Raises OptionError if it asks for a column that hits do not show.
    """
    known = {field.name: field for field in hit_fields(facts.info.columns)}
    if request.fields is None:
        return tuple(known.values())
    for name in request.fields:
        if name not in known and name not in ALWAYS:
            there = ", ".join((*ALWAYS, *known))
            raise OptionError(f"hits have no column {name}; they have {there}", "fields")
    order = order_of(facts, request)
    shown = {*request.fields, *([order.field.name] if order else [])}
    return tuple(field for name, field in known.items() if name in shown)


def order_of(facts: TableFacts, request: Request) -> Order | None:
    """The order of a page's hits, None if it is that of their scores.

    Raises OptionError if they cannot be sorted so.
    """
    if request.sort is None:
        return None
    return Order.read(request.sort, hit_fields(facts.info.columns))


def _reading(facts: TableFacts) -> Settings:
    return dict(_EMBEDDED_READ) if facts.is_embedded else {}


def _settings(facts: TableFacts, plan: Plan, stage: Stage) -> Settings:
    settings = _reading(facts)
    if facts.placement.cluster is not None:
        # Whatever the user's profile says: no row goes unsearched in silence.
        settings[SKIP_SHARDS] = 0
        if stage.is_own:
            # Each shard's candidates are its own: those of the node that is asked are no others'.
            settings[GLOBAL_IN] = 0
    return settings | method_of(plan.mode).settings(facts, plan, stage)
