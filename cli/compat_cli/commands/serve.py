"""`compat-sdk serve`: a small HTTP service over one bundle and one gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compat_cli import console, extras, options
from compat_sdk.errors import ConfigError


def serve(
    bundle: Annotated[Path, typer.Option("--bundle", help="Query model: a BUNDLE.")],
    gallery: Annotated[Path, typer.Option("--gallery", help="Gallery folder that it searches.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen at; 0.0.0.0 for every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8080,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", min=1, max=1 << 28, help="Largest picture as it is sent.")
    ] = 16 << 20,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Most pixels of a picture in memory, 3 to 8 bytes each.")
    ] = 50_000_000,
    timeout: Annotated[float, typer.Option("--timeout", min=0.01, max=3600, help="Seconds for one request.")] = 30.0,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--at-once", min=1, help="Requests worked on at once; one a core if not given.", show_default=False
        ),
    ] = None,
    waiting: Annotated[
        int, typer.Option("--waiting", min=0, help="Further requests that may wait; one more is turned away.")
    ] = 16,
    refresh: Annotated[
        float, typer.Option("--refresh", min=0, help="Seconds between looks for a changed gallery; 0 for none.")
    ] = 5.0,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            help="Origin whose pages may read answers in a browser; may be given again.",
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        str, typer.Option("--index", help="auto, exact, exact-faiss, exact-faiss-gpu, or the kind of its index.")
    ] = "auto",
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """Answer pictures over HTTP from one bundle and one gallery, until the process is told to end.

    The bundle's golden pictures are embedded and the gallery is searched before anything is answered.
    """
    extras.require("serve")
    from compat_cli.serving.desk import Limits
    from compat_cli.serving.listen import bind, listen, url
    from compat_cli.serving.searcher import Searcher
    from compat_cli.serving.service import is_loopback, make_service
    from compat_sdk.embedder import Embedder
    from compat_sdk.images import limit_pixels
    from compat_sdk.kinds import is_address
    from compat_sdk.workers import usable_cores

    if is_address(gallery):
        raise ConfigError(
            f"--gallery is the address {gallery}; expected a folder, since a collection has a service already"
        )
    wanted = options.trusted(public_key, trust)
    limits = Limits(max_bytes, timeout, usable_cores() if at_once is None else at_once, waiting)
    with bind(host, port) as bound:
        limit_pixels(max_pixels)
        try:
            with console.working():
                embedder = Embedder.load(bundle, engine=engine, threads=threads, trust=wanted)
                test = embedder.self_test()
                searcher = Searcher(embedder, gallery, index=index, trust=wanted)
            if searcher.doubt is not None:
                console.note(f"note: {searcher.doubt}")
            alone = is_loopback(host)
            if not alone:
                console.note(
                    f"warning: other machines reach {host}, and whoever does may search; there is no login and no "
                    f"encryption here, see docs/edge-box.md"
                )
            hosts = sorted({"127.0.0.1", "localhost", "[::1]", host.lower()}) if alone else ()
            service = make_service(searcher, limits, hosts=hosts, origins=allow_origin or (), refresh=refresh)
            bound.listen(128)
            address = url(bound)
            payload = {
                "url": address,
                "model": embedder.manifest.name,
                "space": searcher.present.info["space"],
                "rows": searcher.present.info["rows"],
                "golden": {"min_cosine": test.min_cosine, "pictures": test.pictures},
            }
            text = f"{embedder.manifest.name} searches {searcher.present.info['rows']} rows at {address}"
            console.report(payload, text, as_json=as_json)
            listen(service, bound, timeout)
        finally:
            limit_pixels(None)
