"""A table's columns, and what is kept with it."""
