"""encode_text and encode_image for SQL: what the engine runs, and what it is told about it."""

from cliphouse.udf.functions import FUNCTIONS, SETTINGS_FILE, write_functions
from cliphouse.udf.settings import EncoderSettings

__all__ = ["FUNCTIONS", "SETTINGS_FILE", "EncoderSettings", "write_functions"]
