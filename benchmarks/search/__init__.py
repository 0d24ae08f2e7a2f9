"""Search, side by side: how fast it is, and how much of the exact answer it finds.

    cd benchmarks && python -m search all [--rows N...]

``prepare`` builds the data, tables and indexes of every contender once; ``measure`` asks each, in
a process of its own, the same queries; ``report`` writes docs/benchmarks/search.md, search.json
and the plots.
"""
