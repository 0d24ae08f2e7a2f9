"""cliphouse udf install, cliphouse udf show"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cliphouse
from cliphouse.cli import interrupt, options, show
from cliphouse.models import DEFAULT_MODEL, Device
from cliphouse.udf.install import ServerFile, ServerFolders, install, server_files

app = typer.Typer(
    name="udf",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Install encode_text and encode_image on a server. An embedded database has them.",
)

Config = Annotated[Path, typer.Option(help="The server's configuration folder.")]
Scripts = Annotated[Path, typer.Option(help="The server's user_scripts folder.")]
Pictures = Annotated[
    list[Path] | None,
    typer.Option(
        help="A folder whose pictures encode_image may open; repeatable. By default, the server's "
        "user_files."
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="The encoder: a model that cliphouse models lists, or a folder of model files.",
    ),
]
Copies = Annotated[
    int, typer.Option(min=1, max=16, help="The most processes that a function may have.")
]
CONFIG = Path("/etc/clickhouse-server")
SCRIPTS = Path("/var/lib/clickhouse/user_scripts")
PICTURES = Path("/var/lib/clickhouse/user_files")


@app.command("install")
def install_command(
    config: Config = CONFIG,
    scripts: Scripts = SCRIPTS,
    pictures: Pictures = None,
    model: ModelName = DEFAULT_MODEL,
    model_dir: options.ModelDir = None,
    copies: Copies = 1,
    device: options.Device = "auto",
    db: Annotated[
        str | None,
        typer.Option(
            help="The server, http://user:password@host:8123: reload its functions and try them."
        ),
    ] = None,
) -> None:
    """Write the scripts, the functions and the configuration into a server's folders."""
    files = _files(config, scripts, pictures, model, model_dir, copies, device)
    interrupt.keep("some files may be written; run the same command again")
    install(files)
    for file in files:
        show.out.print(show.plain(str(file.path)), markup=False)
    if db is None:
        show.err.print(
            "next: run SYSTEM RELOAD FUNCTIONS on the server, or restart it. The same command with "
            "--db http://user:password@host:8123 does that and tries SELECT encode_text('cat')"
        )
        return
    with cliphouse.open(db, model=model, model_dir=options.folder(model_dir)) as opened:
        difference = opened.check_functions()
        shown = opened.address.shown
    show.err.print(
        f"{shown}: encode_text('cat') is the same as here (largest difference {difference:.1g})"
    )


@app.command("show")
def show_command(
    config: Config = CONFIG,
    scripts: Scripts = SCRIPTS,
    pictures: Pictures = None,
    model: ModelName = "tiny",
    model_dir: options.ModelDir = None,
    copies: Copies = 1,
    device: options.Device = "auto",
) -> None:
    """Print what install would write."""
    for file in _files(config, scripts, pictures, model, model_dir, copies, device):
        print(f"==> {file.path}\n{file.text}")


def _files(
    config: Path,
    scripts: Path,
    pictures: list[Path] | None,
    model: str,
    model_dir: Path | None,
    copies: int,
    device: Device,
) -> list[ServerFile]:
    folders = ServerFolders(config, scripts, tuple(pictures or [PICTURES]))
    return server_files(folders, model, options.folder(model_dir), copies, device)
