"""cliphouse serve"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.cli.opening import patience
from cliphouse.errors import UserError
from cliphouse.server.settings import DEFAULT_TABLES, PORT, Limits, ServeSettings

_MEGABYTE = 1_000_000


def command(
    db: options.Db = options.DB,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--table", help="A table to serve; repeatable. The first is the default. [laion]"
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 chooses a free one.")
    ] = PORT,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of pictures that clients may see; repeatable."),
    ] = None,
    sync: Annotated[
        Path | None,
        typer.Option(
            help="A folder of pictures that the table follows as they come and go; clients may see "
            "them."
        ),
    ] = None,
    sync_to: Annotated[
        Path | None,
        typer.Option(help="The folder for the shards of --sync. By default DB.shards/TABLE."),
    ] = None,
    picture_network: Annotated[
        list[str] | None,
        typer.Option(
            help="A private network, for example 10.1.0.0/16, from which the service may fetch "
            "pictures by address; repeatable."
        ),
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            envvar="CLIPHOUSE_API_KEY", help="An API key that clients may use; repeatable."
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="A file with SHA-256 hashes of API keys, one per line.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve other machines without an API key.")
    ] = False,
    rate: Annotated[
        str | None,
        typer.Option(help="The most requests of one key or address, for example 120/minute."),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            help="An origin whose pages may ask, for example https://example.org; repeatable."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Another host name that it answers to, for example behind a proxy; repeatable."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Number of searches at the same time.")
    ] = 4,
    queue: Annotated[
        int,
        typer.Option(
            min=0, max=10_000, help="Number of requests that may wait for a search to end."
        ),
    ] = Limits.queue,
    max_body: Annotated[
        int, typer.Option(min=1, max=1000, help="The largest request, in MB.")
    ] = Limits.body_bytes // _MEGABYTE,
    log_queries: Annotated[
        bool, typer.Option("--log-queries", help="Log what is searched for.")
    ] = False,
    model: options.Model = None,
    model_dir: options.ModelDir = None,
    device: options.Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="The encoder's threads. By default, half of the cores."),
    ] = None,
) -> None:
    """Serve tables over HTTP: a search page, and an API for programs."""
    from cliphouse.server.access import parse_rate  # the web framework takes a second to import
    from cliphouse.server.keys import hash_key, read_key_file
    from cliphouse.server.run import Ready, log_to_standard_error, serve

    folders = (*(pictures or ()), *((sync,) if sync is not None else ()))
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"--pictures {folder}: no such folder")
    if rate is not None:
        parse_rate(rate)
    settings = ServeSettings(
        db=db,
        tables=tuple(dict.fromkeys(tables or DEFAULT_TABLES)),
        model=model,
        model_dir=options.folder(model_dir),
        device=device,
        threads=threads,
        host=host,
        port=port,
        pictures=folders,
        picture_networks=tuple(map(_network, picture_network or ())),
        keys=(
            *(hash_key(key) for key in api_key or ()),
            *(read_key_file(api_key_file) if api_key_file else ()),
        ),
        insecure=insecure,
        cors=tuple(cors or ()),
        hosts=tuple(allow_host or ()),
        workers=workers,
        limits=Limits(body_bytes=max_body * _MEGABYTE, rate=rate, queue=queue),
        log_queries=log_queries,
        sync=sync,
        sync_to=sync_to,
        patience=patience(for_engine=True),
    )

    def announce(ready: Ready) -> None:
        interrupt.hand_over()
        for problem in ready.problems:
            show.err.print(problem, markup=False)
        print(f"cliphouse serves {', '.join(settings.tables)} at {ready.address}", flush=True)
        if others := addresses_for_others(host, ready.address):
            show.err.print(f"from other devices: {others}", markup=False)

    with log_to_standard_error(), show.progress("sync", "pictures") as advance:
        serve(settings, announce, advance)


def addresses_for_others(host: str, address: str) -> str:
    """The addresses by which other devices of a network reach a service that listens on all; empty
    if it listens on one."""
    if host not in ("0.0.0.0", "::"):
        return ""
    import socket

    import psutil

    here = (one for found in psutil.net_if_addrs().values() for one in found)
    ours = [one.address for one in here if one.family == socket.AF_INET]
    port = address.rpartition(":")[2]
    return " ".join(f"http://{ip}:{port}" for ip in ours if not ip.startswith("127."))


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise UserError(f"--picture-network {text}: {error}") from None
