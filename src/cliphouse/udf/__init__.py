"""encode_text and encode_image for SQL: the encoder process and the engine's configuration."""

from cliphouse.udf.functions import CONFIG_FILE, FUNCTIONS, SETTINGS_FILE, write_functions
from cliphouse.udf.settings import EncoderSettings

__all__ = ["CONFIG_FILE", "FUNCTIONS", "SETTINGS_FILE", "EncoderSettings", "write_functions"]
