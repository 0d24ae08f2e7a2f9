"""Embedding a dataset: each input becomes one shard, and is not embedded again until it changes.

Several processes may embed one dataset into one folder: each takes the inputs that no other has.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cliphouse.errors import CliphouseError, PictureError, ShardError
from cliphouse.models import Encoder
from cliphouse.pictures.datasets.member import CutOff, Input, Member
from cliphouse.pictures.datasets.record import Record, read_record
from cliphouse.pictures.datasets.report import DatasetReport, InputReport, Pace, SkippedMember
from cliphouse.pictures.datasets.rows import Loaded, Rows
from cliphouse.pictures.files import read_with, upright_size
from cliphouse.pictures.formats import MAX_PIXELS
from cliphouse.pictures.output import foreign, shard_files, take_folder
from cliphouse.shards.locks import lock_holder, try_lock
from cliphouse.shards.partial_file import disk_errors
from cliphouse.shards.writer import ShardWriter
from cliphouse.vocabulary import Progress

BATCH = 64  # pictures that the model takes at once

_Opened = Loaded[Any] | SkippedMember | CutOff | None


def embed_dataset(
    inputs: Sequence[Input[Any]],
    shards: Path,
    encoder: Encoder,
    progress: Progress | None = None,
    on_input: Callable[[InputReport], None] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> DatasetReport:
    """Embed each of ``inputs`` into a shard in ``shards``, in clip-retrieval's layout.

    An input whose shard is there stays as it is, unless its size or version has changed.
    ``on_input`` is called as soon as it is known what became of an input.

    Raises ShardError if ``shards`` has shards of another model, program or dataset, and
    CliphouseError if it cannot be written.
    """
    take_folder(shards, encoder)
    run = _Run(shards, encoder, max_pixels, Pace(progress, sum(one.file.size for one in inputs)))
    reports: dict[int, InputReport] = {}
    # Another process may have ended without finishing what it had, so that is looked at again.
    for is_last in (False, True):
        for one in inputs:
            if one.number in reports:
                continue
            report = run.take(one)
            if report.outcome != "busy" or is_last:
                reports[one.number] = report
                if on_input:
                    on_input(report)
    return DatasetReport([reports[one.number] for one in inputs])


class _UnreadableError(CliphouseError):
    """An input cannot be read; others can."""


class _Run:
    """One run over the inputs."""

    def __init__(self, shards: Path, encoder: Encoder, max_pixels: int, pace: Pace) -> None:
        self._shards = shards
        self._encoder = encoder
        self._max_pixels = max_pixels
        self._pace = pace

    def take(self, one: Input[Any]) -> InputReport:
        """Embed an input, unless that is done or another process does it."""
        done = self._done(one)
        if done is None:
            lock = self._metadata(one).with_suffix(".lock")
            with try_lock(lock) as is_ours:
                if not is_ours:
                    return InputReport(one.file.name, "busy", reason=lock_holder(lock))
                done = self._done(one)
                if done is None:
                    return self._embed(one)
        self._pace.leave_out(one.file.size)
        return InputReport(one.file.name, "there", done.rows, done.skipped, done.absent, done.fault)

    def _metadata(self, one: Input[Any]) -> Path:
        return self._shards / "metadata" / f"metadata_{one.number}.parquet"

    def _done(self, one: Input[Any]) -> Record | None:
        """The record of an input whose shard is there and as the input is now."""
        path = self._metadata(one)
        try:
            record = read_record(path)
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise ShardError(f"{path}: cannot be read ({reason}); remove it to go on") from error
        if record is None:
            raise foreign(self._shards)
        if record.is_of(one.file.size, one.file.version):
            return record
        if record.address != _address(one):
            raise ShardError(
                f"{path}: is the shard of {record.address}, not of {_address(one)}; give another "
                "folder"
            )
        return None

    def _embed(self, one: Input[Any]) -> InputReport:
        try:
            with disk_errors(self._shards):
                return self._write(one)
        except _UnreadableError as error:
            self._pace.leave_out(one.file.size)
            return InputReport(one.file.name, "failed", reason=str(error))

    def _write(self, one: Input[Any]) -> InputReport:
        rows: Rows[Any] = Rows()
        left_out = _LeftOut()
        with ShardWriter(self._shards, one.number, self._encoder.dim) as writer:
            for batch in self._opened(one):
                loaded = [item for item in batch if isinstance(item, Loaded)]
                left_out.add(batch)
                if loaded:
                    image = self._encoder.encode_image([item.image for item in loaded])
                    text = self._encoder.encode_text([item.member.caption for item in loaded])
                    writer.append_embeddings(image, text)
                    rows.add(loaded, np.einsum("ij,ij->i", image, text))
                    self._pace.advance(len(loaded), loaded[-1].member.read)
            report = InputReport(
                one.file.name,
                "embedded",
                writer.rows,
                len(left_out.skipped),
                left_out.absent,
                left_out.fault,
                tuple(left_out.skipped),
            )
            if writer.rows:
                writer.append_metadata(_record(one, report).put_on(rows.table(one)))
            # So that nobody takes the old shard's metadata for that of the new embeddings.
            self._metadata(one).unlink(missing_ok=True)
        if not report.rows:
            for path in shard_files(self._shards, number=one.number):
                path.unlink()
        self._pace.end(one.file.size)
        return report

    def _opened(self, one: Input[Any]) -> Iterator[list[_Opened]]:
        """The pictures of an input in batches; the next batch is read while one is encoded."""
        members = _members(one)
        with ThreadPoolExecutor() as pool:
            ahead = None
            while batch := list(islice(members, BATCH)):
                coming = pool.map(self._open, batch)
                if ahead is not None:
                    yield list(ahead)
                ahead = coming
            if ahead is not None:
                yield list(ahead)

    def _open(self, member: Member[Any] | CutOff) -> _Opened:
        """None if the picture is absent."""
        if isinstance(member, CutOff):
            return member
        if member.is_absent:
            return None
        if member.fault:
            return SkippedMember(member.key, member.fault)
        try:
            image, size = read_with(
                io.BytesIO(member.picture),
                member.key,
                self._max_pixels,
                upright_size,
                lambda: self._encoder.decoding_edge,
            )
            shrunk = self._encoder.shrink(image)
        except PictureError as error:
            return SkippedMember(member.key, str(error).removeprefix(f"{member.key}: "))
        return Loaded(replace(member, picture=b""), shrunk, *size)


def _address(one: Input[Any]) -> str:
    return one.file.path if one.file.is_local else str(one.file.fs.unstrip_protocol(one.file.path))


def _members(one: Input[Any]) -> Iterator[Member[Any] | CutOff]:
    """Its members; what keeps them from being read is an error of this input alone."""
    try:
        yield from one.members()
    # Stores raise errors of their own types.
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise _UnreadableError(reason.removeprefix(f"{one.file.path}: ")) from error


def _record(one: Input[Any], report: InputReport) -> Record:
    return Record(
        _address(one),
        one.file.size,
        one.file.version,
        report.rows,
        report.skipped,
        report.absent,
        report.reason,
    )


@dataclass
class _LeftOut:
    """What of an input becomes no row, and why the input ended too early."""

    skipped: list[SkippedMember] = field(default_factory=list)
    absent: int = 0
    fault: str = ""

    def add(self, batch: Sequence[_Opened]) -> None:
        for item in batch:
            if isinstance(item, SkippedMember):
                self.skipped.append(item)
            elif isinstance(item, CutOff):
                self.fault = item.reason
            elif item is None:
                self.absent += 1
