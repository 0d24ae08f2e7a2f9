"""cliphouse embed"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cliphouse.cli import options, show
from cliphouse.models import DEFAULT_MODEL, load_encoder
from cliphouse.pictures.formats import MAX_PIXELS

if TYPE_CHECKING:
    from cliphouse.pictures.embed import EmbedReport


def command(
    pictures: Annotated[Path, typer.Argument(help="A folder of pictures.", metavar="DIR")],
    to: Annotated[Path, typer.Option("--to", help="The folder for the shards.")],
    model: options.Model = None,
    model_dir: options.ModelDir = None,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Larger pictures are skipped and reported.")
    ] = MAX_PIXELS,
) -> None:
    """Turn a folder of pictures into shards. Run it again to embed new and changed pictures only.

    Captions come from a sidecar NAME.txt, from captions.csv (columns file and caption), or from
    the file's name.
    """
    from cliphouse.pictures.embed import embed_folder

    encoder = load_encoder(model or DEFAULT_MODEL, options.folder(model_dir))
    with show.progress("embed", "pictures") as advance:
        report = embed_folder(pictures, to, encoder, advance, max_pixels)
    tell(report)


def tell(report: EmbedReport) -> None:
    """Print what was done, and name each skipped picture."""
    for skipped in report.skipped:
        show.err.print(f"skipped {skipped.path}: {skipped.reason}", markup=False)
    gone = f", {report.gone:,} no longer in the folder (their rows stay)" if report.gone else ""
    show.out.print(
        f"{report.new:,} new, {report.changed:,} changed, {report.unchanged:,} unchanged, "
        f"{len(report.skipped):,} skipped{gone}"
    )
