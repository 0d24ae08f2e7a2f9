"""A user's own pictures: finding them, opening them safely, and embedding a folder into shards."""

from cliphouse.pictures.embed import EmbedReport, SkippedPicture, embed_folder
from cliphouse.pictures.files import Picture, find_pictures, open_picture

__all__ = [
    "EmbedReport",
    "Picture",
    "SkippedPicture",
    "embed_folder",
    "find_pictures",
    "open_picture",
]
