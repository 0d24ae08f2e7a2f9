"""The SQL functions as the engine's XML, with the command that starts an encoder process."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

SETTINGS_FILE = "encoder.json"
FUNCTIONS_FILE = "encode_function.xml"
CONFIG_FILE = "config.xml"

# The working folder is removed from the path, because its files could be imported as modules. The
# process multiplies no matrices with numpy: its threads would only take time to start.
_START = (
    "import os, sys; sys.path = [p for p in sys.path if p]; "
    "os.environ['OPENBLAS_NUM_THREADS'] = '1'; import cliphouse.udf.worker as w; w.main()"
)
# The first call loads the model, and a long column takes a while. A process that does not answer in
# this time hangs.
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Function:
    """A SQL function of one String ``argument`` that returns Array(Float32)."""

    name: str
    argument: str


FUNCTIONS = (
    Function("encode_text", "text"),
    Function("encode_image", "path"),
    Function("encode_image_or_empty", "path"),  # [] for a file that cannot be read as a picture
)


def encoder_command(function: Function, settings: Path) -> str:
    """The shell command of an encoder process, with this environment's own interpreter."""
    return shlex.join(["exec", sys.executable, "-c", _START, function.name, str(settings)])


def functions_xml(commands: dict[str, str], direct: bool, copies: int = 1) -> str:
    """The XML that defines all functions. ``commands`` are by function name: files in the folder
    of user scripts if ``direct``, otherwise shell commands. Up to ``copies`` processes of each
    function run.

    RowBinary keeps every byte of a text. The chunk headers give the number of rows, so that rows
    are encoded together. A query fails if a process ends or writes to standard error; the error
    has the text that was written.
    """
    import xml.etree.ElementTree as ET

    root = ET.Element("functions")
    for function in FUNCTIONS:
        element = ET.SubElement(root, "function")
        for name, value in _definition(function, copies).items():
            ET.SubElement(element, name).text = value
        argument = ET.SubElement(element, "argument")
        ET.SubElement(argument, "type").text = "String"
        ET.SubElement(argument, "name").text = function.argument
        ET.SubElement(element, "command").text = commands[function.name]
        ET.SubElement(element, "execute_direct").text = str(int(direct))
    return _xml(root)


def config_xml(functions: str, scripts: str | None = None) -> str:
    """A part of the engine's configuration: the file that defines the functions (or a pattern of
    files), and the folder of scripts if it is not the engine's own."""
    import xml.etree.ElementTree as ET

    root = ET.Element("clickhouse")
    ET.SubElement(root, "user_defined_executable_functions_config").text = functions
    if scripts is not None:
        ET.SubElement(root, "user_scripts_path").text = scripts
    return _xml(root)


def write_functions(folder: Path) -> None:
    """Write the files of an embedded engine's functions, CONFIG_FILE and those that it names.

    The functions read the encoder's settings from ``folder / SETTINGS_FILE`` at every call.
    """
    settings = folder / SETTINGS_FILE
    commands = {function.name: encoder_command(function, settings) for function in FUNCTIONS}
    (folder / FUNCTIONS_FILE).write_text(functions_xml(commands, direct=False))
    (folder / CONFIG_FILE).write_text(config_xml(FUNCTIONS_FILE))


def _definition(function: Function, copies: int) -> dict[str, str]:
    milliseconds = str(_TIMEOUT_SECONDS * 1000)
    return {
        "type": "executable_pool",
        "name": function.name,
        "return_type": "Array(Float32)",
        "format": "RowBinary",
        "send_chunk_header": "1",
        "pool_size": str(copies),
        "command_read_timeout": milliseconds,
        "command_write_timeout": milliseconds,
        "max_command_execution_time": str(_TIMEOUT_SECONDS),
        "stderr_reaction": "throw",
        "check_exit_code": "1",
    }


def _xml(root: ET.Element) -> str:
    import xml.etree.ElementTree as ET

    ET.indent(root, "    ")
    return ET.tostring(root, encoding="unicode") + "\n"
