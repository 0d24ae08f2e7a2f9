"""A user's own pictures and datasets: finding them, opening them safely, and embedding them into
shards."""
