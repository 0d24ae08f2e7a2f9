"""The URLs of a shard's files, as LAION, clip-retrieval and their mirrors name them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from cliphouse.errors import UserError

DEFAULT_SOURCE = "https://deploy.laion.ai/8f83b608504d46bb81708ec86e912220/embeddings"
LAION_SHARDS = 410

_NUMBER = re.compile(r"\{n(:0?\d*d?)?\}")
_DIGITS = (1, 4, 5, 3, 2, 6)  # the widths to which numbers are padded, the likely widths first


@dataclass(frozen=True)
class FileKind:
    """One of the kinds of files in a shard. ``folders`` are LAION's and clip-retrieval's names."""

    name: str
    stem: str
    suffix: str
    folders: tuple[str, str]

    def file_name(self, number: int) -> str:
        return f"{self.stem}_{number}.{self.suffix}"


KINDS = {
    kind.name: kind
    for kind in (
        FileKind("image", "img_emb", "npy", ("img_emb", "images")),
        FileKind("text", "text_emb", "npy", ("text_emb", "texts")),
        FileKind("metadata", "metadata", "parquet", ("metadata", "metadata")),
    )
}


def choose_kinds(names: Iterable[str]) -> list[FileKind]:
    """The kinds with these names, in the order of KINDS. Raises UserError for an unknown name."""
    chosen = {name.strip() for name in names}
    if unknown := sorted(chosen - KINDS.keys()):
        raise UserError(f"{unknown[0]!r} is not a part of a shard; choose from {', '.join(KINDS)}")
    return [kind for kind in KINDS.values() if kind.name in chosen]


def url_templates(source: str, kind: FileKind, only_kind: bool = False) -> list[str]:
    """The templates (for `file_url`) that the files of a kind may have, likely templates first.

    ``source`` is a folder, or a template with ``{n}`` for the files of one kind, from which the
    templates of the other kinds follow. If this is the ``only_kind`` that is wanted, any
    template is used as it is.

    Raises UserError if the kind of a template's files cannot be seen.
    """
    path, query = _split(source)
    if not path:
        raise UserError("--from needs an address")
    if _NUMBER.search(path):
        return [template + query for template in _templates_of_kind(path, kind, only_kind)]
    base = _escape(path if path.endswith("/") else path + "/")
    if source.rstrip("/") == DEFAULT_SOURCE:
        return [f"{base}{kind.folders[0]}/{kind.stem}_{{n}}.{kind.suffix}"]
    return _unique(
        f"{base}{folder}{kind.stem}_{{n:0{digits}d}}.{kind.suffix}{_escape(query)}"
        for folder in (*(f"{name}/" for name in kind.folders), "", *_named_after(path, kind))
        for digits in _DIGITS
    )


def _named_after(source: str, kind: FileKind) -> list[str]:
    """The folder of metadata that is called after the source: laion2B-en/laion2B-en-metadata."""
    name = _escape(source.rstrip("/").rpartition("/")[2])
    return [f"{name}-metadata/"] if kind.name == "metadata" and name else []


def file_url(template: str, number: int) -> str:
    """The URL of one file. Raises UserError if the template has other braces than {n}."""
    try:
        return template.format(n=number)
    except (ValueError, LookupError, AttributeError) as error:
        raise UserError(
            f"{redact(template)}: only {{n}} or {{n:04d}} may stand in braces ({error})"
        ) from error


def redact(url: str) -> str:
    """A URL without password and signature, fit to be shown and stored."""
    path, _ = _split(url)
    return re.sub(r"(?<=://)[^/@]*@", "", path)


def is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _split(url: str) -> tuple[str, str]:
    """A URL up to the query, and the query with its ``?``; only http has a query."""
    if not is_http(url):
        return url, ""
    query = urlsplit(url).query
    return url.split("#")[0].split("?")[0], f"?{query}" if query else ""


def _templates_of_kind(template: str, kind: FileKind, only_kind: bool) -> list[str]:
    *folders, name = template.split("/")
    own = _kind_of(folders, name)
    if own is None:
        if only_kind:
            return [template]
        raise UserError(
            f"{redact(template)}: does not say whether it is img_emb, text_emb or metadata, so the "
            "other files of a shard cannot be found; add --only image, text or metadata"
        )
    if own == kind:
        return [template]
    name = name.replace(own.stem, kind.stem)
    if name.endswith(f".{own.suffix}"):
        name = name.removesuffix(own.suffix) + kind.suffix
    places = [i for i, folder in enumerate(folders) if folder in own.folders]
    if not places:
        return ["/".join((*folders, name))]
    last = places[-1]
    styles = [style for style in (0, 1) if own.folders[style] == folders[last]]
    return _unique(
        "/".join((*folders[:last], kind.folders[style], *folders[last + 1 :], name))
        for style in styles
    )


def _kind_of(folders: list[str], name: str) -> FileKind | None:
    parent = folders[-1] if folders else ""
    for kind in KINDS.values():
        if kind.stem in name:
            return kind
    return next((kind for kind in KINDS.values() if parent in kind.folders), None)


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _unique(templates: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(templates))
