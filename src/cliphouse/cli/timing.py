"""The time and reading of a statement, as ClickHouse's own client prints them."""

from __future__ import annotations

from cliphouse.engine.answer import Answer

_UNITS = ("", " thousand", " million", " billion", " trillion")
_BYTES = (" B", " KB", " MB", " GB", " TB")


def timing_line(answer: Answer) -> str:
    """The line below a result:

    10 rows in set. Elapsed: 0.019 sec. Processed 137.27 thousand rows, 24.42 MB (7.38 million
    rows/s., 1.31 GB/s.)

    The part about rows read is missing if the engine does not report it.
    """
    parts = []
    if answer.rows is not None:
        count = answer.rows.num_rows
        rows_in_set = f"{count} row{'' if count == 1 else 's'} in set."
        parts.append(rows_in_set if answer.has_result else "Ok.")
    parts.append(f"Elapsed: {answer.seconds:.3f} sec.")
    if answer.reading is not None and answer.reading.rows:
        rows, size = answer.reading.rows, answer.reading.bytes
        rate = max(answer.seconds, 1e-6)
        parts.append(
            f"Processed {_scaled(rows, _UNITS)} rows, {_scaled(size, _BYTES)} "
            f"({_scaled(rows / rate, _UNITS)} rows/s., {_scaled(size / rate, _BYTES)}/s.)"
        )
    return " ".join(parts)


def _scaled(value: float, units: tuple[str, ...]) -> str:
    step = 0
    while value >= 1000 and step < len(units) - 1:
        value /= 1000
        step += 1
    return f"{value:.2f}{units[step]}"
