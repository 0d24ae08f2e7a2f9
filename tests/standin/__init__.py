"""A stand-in for a ClickHouse server, which no package registry has: its HTTP interface on chDB.

The engine is the real one, with its own errors, settings, constraints and grants; what is made here
is the way to it, as faithful as the client needs, and the ways in which it can fail.
"""
