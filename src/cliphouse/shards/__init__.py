"""LAION and clip-retrieval shard files: finding, reading and writing them."""
