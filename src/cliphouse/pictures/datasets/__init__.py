"""Datasets of pictures as img2dataset writes them: webdataset tars, folders of files, parquet.

Each input (a tar, a folder or a parquet file) becomes one shard. `find_inputs` finds them, and
`embed_dataset` embeds them.
"""
