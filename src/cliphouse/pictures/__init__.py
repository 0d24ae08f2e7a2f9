"""A user's own pictures: finding them, opening them safely, and embedding a folder into shards."""
