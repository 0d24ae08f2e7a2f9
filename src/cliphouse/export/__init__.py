"""A table, or part of it, as files."""
