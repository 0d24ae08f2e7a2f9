"""The functions as the engine wants them described: XML, and a command that starts the encoder."""

from __future__ import annotations

import shlex
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

SETTINGS_FILE = "encoder.json"
FUNCTIONS_FILE = "encode_function.xml"
CONFIG_FILE = "config.xml"

# Without the working folder, whose files could pass for modules.
_START = (
    "import sys; sys.path = [p for p in sys.path if p]; import cliphouse.udf.worker as w; w.main()"
)
# A first call loads the model, and a long column keeps the process busy: no answer for this long
# means that it hangs.
_PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Function:
    """A SQL function of one String ``argument`` that returns Array(Float32)."""

    name: str
    argument: str
    description: str


FUNCTIONS = (
    Function("encode_text", "text", "the vector of words"),
    Function("encode_image", "path", "the vector of a picture file"),
    Function("encode_image_or_empty", "path", "the same, and [] where it cannot be read"),
)


def encoder_command(function: Function, settings: Path) -> str:
    """The shell command of an encoder process, with this environment's own interpreter."""
    return shlex.join(["exec", sys.executable, "-c", _START, function.name, str(settings)])


def functions_xml(commands: dict[str, str], direct: bool, copies: int = 1) -> str:
    """The definition of all functions. ``commands`` are by function name: ``direct`` ones are
    files among the user scripts, others are for a shell. ``copies`` processes of each may run.

    RowBinary carries every byte of a text as it is; chunk headers say how many rows belong
    together, so that they can be encoded together. Whatever a process says on standard error
    fails the query with that text, and so does its death.
    """
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
    """The piece of the engine's configuration that names the functions' file (or a pattern of
    files) and, where the engine shall not use its own, the folder of scripts."""
    root = ET.Element("clickhouse")
    ET.SubElement(root, "user_defined_executable_functions_config").text = functions
    if scripts is not None:
        ET.SubElement(root, "user_scripts_path").text = scripts
    return _xml(root)


def write_functions(folder: Path) -> Path:
    """Write into ``folder`` what an embedded engine needs; returns the configuration file to open
    it with. The encoder's settings are read from ``folder / SETTINGS_FILE`` at every call."""
    settings = folder / SETTINGS_FILE
    commands = {function.name: encoder_command(function, settings) for function in FUNCTIONS}
    (folder / FUNCTIONS_FILE).write_text(functions_xml(commands, direct=False))
    config = folder / CONFIG_FILE
    config.write_text(config_xml(FUNCTIONS_FILE))
    return config


def _definition(function: Function, copies: int) -> dict[str, str]:
    milliseconds = str(_PATIENCE_SECONDS * 1000)
    return {
        "type": "executable_pool",
        "name": function.name,
        "return_type": "Array(Float32)",
        "format": "RowBinary",
        "send_chunk_header": "1",
        "pool_size": str(copies),
        "command_read_timeout": milliseconds,
        "command_write_timeout": milliseconds,
        "max_command_execution_time": str(_PATIENCE_SECONDS),
        "stderr_reaction": "throw",
        "check_exit_code": "1",
    }


def _xml(root: ET.Element) -> str:
    ET.indent(root, "    ")
    return ET.tostring(root, encoding="unicode") + "\n"
