"""Shards into a table: every row once, by any number of workers."""
