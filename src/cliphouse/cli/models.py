"""cliphouse models, cliphouse models fetch"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.json_text import to_json

app = typer.Typer(
    name="models",
    add_completion=False,
    rich_markup_mode=None,
    help="List the models for words and pictures, or fetch one.",
)


@app.callback(invoke_without_command=True)
def list_command(
    context: typer.Context,
    model_dir: options.ModelDir = None,
    json: options.Json = False,
) -> None:
    """List the models for words and pictures, and where they can run."""
    if context.invoked_subcommand is not None:
        return
    from cliphouse.models.devices import installed_devices
    from cliphouse.models.listing import list_models

    models, devices = list_models(options.folder(model_dir)), installed_devices()
    if json:
        print(to_json({"models": [asdict(model) for model in models], "devices": devices}))
        return
    rows = [
        (
            model.name,
            "" if model.dim is None else f"{model.dim}",
            model.languages,
            show.size(model.bytes) if model.bytes else "",
            model.licence,
            show.plain(model.here),
        )
        for model in models
    ]
    names = ("model", "dimensions", "languages", "download", "licence", "on this machine")
    show.table(names, rows, right="lrlrll")
    show.out.print(f"devices of the installed ONNX Runtime: {', '.join(devices)}")


@app.command("fetch")
def fetch_command(
    name: Annotated[
        str, typer.Argument(help="A model that cliphouse models lists, or a repository OWNER/NAME.")
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder that holds models.")],
) -> None:
    """Fetch a model from the Hugging Face hub. Run it again to go on after an interruption.

    HF_ENDPOINT is the address of a mirror.
    """
    from cliphouse.models.fetch import fetch_model

    interrupt.keep("what has arrived is kept; run the same command again to continue")
    folder = fetch_model(name, to, quiet=not show.err.is_terminal)
    show.out.print(show.plain(str(folder)), markup=False)
    show.err.print(f"next: give --model-dir {to} or set CLIPHOUSE_MODELS={to}", markup=False)
