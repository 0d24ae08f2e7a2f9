"""Embedding a folder of pictures into shards; a second run does only what has changed.

After each run the shards are what a first run would make of the folder as it is, but for the
numbers of the rows. A killed run loses one batch: finished ones are kept beside the shards until
their shard is written, and a shard is written in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cliphouse.errors import PictureError, UserError
from cliphouse.models import Encoder
from cliphouse.pictures.changes import Changes, find_changes
from cliphouse.pictures.encode import Rows, describe, encode_captions, encode_pictures
from cliphouse.pictures.faults import KnownFaults
from cliphouse.pictures.find import Found, Picture, find_pictures
from cliphouse.pictures.formats import MAX_PIXELS
from cliphouse.pictures.jobs import Job, count_pictures, plan_jobs
from cliphouse.pictures.known import KnownVideos, read_known
from cliphouse.pictures.known_scenes import KnownScenes
from cliphouse.pictures.output import take_folder
from cliphouse.pictures.passed_over import PassedOver
from cliphouse.pictures.passed_over import describe as describe_passed
from cliphouse.pictures.roots import RootFinder, RootWish
from cliphouse.pictures.shard_rows import FinishedRows, ShardRows
from cliphouse.pictures.unfinished import Unfinished
from cliphouse.pictures.video import split_frame
from cliphouse.pictures.walk import FoundFile
from cliphouse.shards.disk import DiskError
from cliphouse.shards.manifest import MANIFEST_NAME
from cliphouse.shards.one_writer import OnHeld, one_writer
from cliphouse.shards.roots import Root
from cliphouse.shards.writer import ShardWriter
from cliphouse.vocabulary import Progress
from cliphouse.wording import counted

_GONE_SHARE = (
    0.5  # of a folder's rows; if more are gone, the folder may be a disk that is not there
)


@dataclass(frozen=True)
class EmbedSizes:
    """The rows of a full shard, and the pictures that the model takes at once."""

    shard: int = 4096
    batch: int = 64  # all that a crash loses: some seconds of ViT-B/32 on two cores


EMBED_SIZES = EmbedSizes()


@dataclass(frozen=True)
class EmbedOptions:
    """What a caller of embed_folder chooses. Pictures of more than ``max_pixels`` are passed over.
    Without ``allow_delete``, a run that would remove more than half of the folder's rows is
    refused. ``moved_from`` is a former place of the folder, whose rows are its own; it is needed
    only if none of its pictures can be recognised. A ``dry_run`` writes nothing. If another run
    writes to the shards, it is waited for up to ``wait`` seconds, and ``on_wait`` is told who it
    is; None is for callers without such a choice, who do not wait. Of a video one frame in
    ``every`` seconds is taken, or one of each scene with ``scenes``; without either it is what the
    shards have been told before, or else ten seconds. ``on_scenes`` is told of each video that is
    decoded to find its scenes. Raises UserError if both ``every`` and ``scenes`` are given."""

    max_pixels: int = MAX_PIXELS
    sizes: EmbedSizes = EMBED_SIZES
    allow_delete: bool = False
    moved_from: Path | None = None
    dry_run: bool = False
    wait: float | None = None
    on_wait: OnHeld | None = None
    every: float | None = None
    scenes: bool = False
    on_scenes: Callable[[Path], None] | None = None

    def __post_init__(self) -> None:
        if self.scenes and self.every is not None:
            raise UserError("--scenes, --every: give one of them")


EMBED_OPTIONS = EmbedOptions()


@dataclass
class EmbedReport:
    """The numbers of pictures that a run found new, changed, renamed, unchanged and gone.
    ``skipped`` is all else that is in the folder; those in ``named_before`` were so in an earlier
    run. ``changes`` are the pictures by name, as far as they were known before any was opened.
    ``root`` is the root that the folder is or is in, and ``moved_from`` its former place, if it has
    moved."""

    changes: Changes
    root: Root | None = None
    moved_from: str | None = None

    new: int = 0
    changed: int = 0
    renamed: int = 0
    unchanged: int = 0
    gone: int = 0
    skipped: list[PassedOver] = field(default_factory=list)
    named_before: list[PassedOver] = field(default_factory=list)


def embed_folder(
    folder: Path,
    shards: Path,
    encoder: Encoder,
    progress: Progress | None = None,
    options: EmbedOptions = EMBED_OPTIONS,
) -> EmbedReport:
    """Embed the pictures in ``folder`` into shards in ``shards``, in clip-retrieval's layout, and
    take the rows of pictures out that are no longer there.

    Pictures that cannot be read are listed in the report, as is everything else in the folder that
    is no picture. A changed picture keeps its row, and so does one that was renamed or moved, which
    is known by its bytes and not embedded again. Rows of other folders stay.

    Raises PictureError if the folder is missing, has no picture, or has lost more than half of its
    pictures and ``options.allow_delete`` is false; ShardError if ``shards`` has shards of another
    model or another program; UserError if another run writes there.
    """
    if options.dry_run:
        return follow_folder(folder, shards, encoder, progress, options)
    with one_writer(shards, "embed", wait=options.wait, on_wait=options.on_wait):
        return follow_folder(folder, shards, encoder, progress, options)


def follow_folder(
    folder: Path,
    shards: Path,
    encoder: Encoder,
    progress: Progress | None = None,
    options: EmbedOptions = EMBED_OPTIONS,
    first_number: int = 0,
    wish: RootWish | None = None,
) -> EmbedReport:
    """Do what `embed_folder` does, as the only writer to ``shards``. The first of new shards gets
    ``first_number``. With a ``wish`` the folder becomes a root, if it is none.

    Raises UserError also if the folder cannot have the name that is wished for.
    """
    if not folder.is_dir():
        raise PictureError(f"{folder}: no such folder")
    known = read_known(shards, encoder, may_mend=not options.dry_run)
    finder = RootFinder(folder, known, wish, options.moved_from)

    def root_of(files: Sequence[FoundFile]) -> Root | None:
        root = finder.choose(files)
        known.find_files(finder.roots, root)
        return root

    scenes = KnownScenes(shards, not options.dry_run, options.on_scenes)
    videos = KnownVideos(known, options.every, options.scenes, scenes)
    found = find_pictures(folder, root_of, videos)
    faults = KnownFaults.read(shards, options.max_pixels)
    pictures, damaged = faults.sort_out(found.pictures)
    changes = find_changes(folder, pictures, known, options.moved_from)
    if not (found.pictures or known.shards):
        raise _no_pictures(folder, found)
    skipped = [*found.passed, *damaged]
    if options.dry_run:
        return _preview(changes, finder, skipped, faults)
    if not options.allow_delete:
        _check_share(folder, changes, pictures, finder)
    report = EmbedReport(changes, finder.root, finder.moved_from)
    report.unchanged, report.gone, report.skipped = changes.unchanged, len(changes.gone), skipped
    jobs = plan_jobs(changes, known, options.sizes.shard, first_number)
    run = _Run(shards, encoder, report, options, progress, count_pictures(jobs), finder.roots)
    for job in jobs:
        run.do(job)
    run.finish()
    report.named_before = faults.known_among(report.skipped)
    if known.shards or report.new:
        take_folder(shards, encoder, finder.without_swallowed(), options.every, options.scenes)
        faults.write(report.skipped, pictures)
    return report


def _preview(
    changes: Changes, finder: RootFinder, skipped: list[PassedOver], faults: KnownFaults
) -> EmbedReport:
    """What a run would report if all pictures can be read."""
    renamed = len(changes.renamed)
    captioned = sum(each.is_described_anew for each in changes.described if not each.is_renamed)
    return EmbedReport(
        changes,
        finder.root,
        finder.moved_from,
        new=len(changes.new),
        changed=len(changes.changed) + captioned,
        renamed=renamed,
        unchanged=changes.unchanged + len(changes.described) - renamed - captioned,
        gone=len(changes.gone),
        skipped=skipped,
        named_before=faults.known_among(skipped),
    )


def _no_pictures(folder: Path, found: Found) -> PictureError:
    others = f"; passed over: {describe_passed(found.passed)}" if found.passed else ""
    return PictureError(f"{folder}: no pictures here (.jpg, .png, .heic, .webp ...){others}")


def _check_share(
    folder: Path, changes: Changes, pictures: Sequence[Picture], finder: RootFinder
) -> None:
    """Raises PictureError if too many of the rows are gone. Of videos that are there, other frames
    may be wanted now."""
    videos = {each.file for each in pictures if each.frame is not None}
    lost = sum(split_frame(row.path)[0] not in videos for row in changes.gone)
    if lost <= _GONE_SHARE * changes.rows:
        return
    gone = f"{lost:,} of its {counted(changes.rows, 'picture')} are"
    if finder.root is not None and finder.moved_from is not None:
        raise PictureError(
            f"{folder}: root {finder.root.name} was {finder.moved_from}, and {gone} not here; if "
            "this is another folder, give it another name with --root; if they were deleted, give "
            "--allow-delete"
        )
    raise PictureError(
        f"{folder}: {gone} gone; if a disk is not there, plug it in; if they were deleted, give "
        "--allow-delete"
    )


class _Run:
    """One run: embeds pictures and writes shards."""

    def __init__(
        self,
        folder: Path,
        encoder: Encoder,
        report: EmbedReport,
        options: EmbedOptions,
        progress: Progress | None,
        total: int,
        roots: Sequence[Root],
    ) -> None:
        self._folder = folder
        self._roots = roots
        self._encoder = encoder
        self._report = report
        self._options = options
        self._progress = progress
        self._total = total
        self._done = 0
        self._has_begun = False
        self._unfinished = Unfinished(folder, encoder.dim)

    def do(self, job: Job) -> None:
        """Bring one shard to what it is to be."""
        made: list[Path] = []
        parts = list(self._embed(job.pictures, made))
        rows = Rows.join(parts) if parts else Rows.none(self._encoder.dim)
        places = {entry["image_path"]: place for place, entry in enumerate(rows.entries)}
        if not (rows.entries or job.changed or job.described or job.removed):
            return  # none of the new pictures can be read
        shard = ShardRows(job.before, self._encoder.dim)
        for place, picture in job.changed.items():
            row = places.get(picture.url)
            if row is None:  # it cannot be read any more
                job.removed.add(place)
                continue
            shard.image[place], shard.text[place] = rows.image[row], rows.text[row]
            shard.describe(place, rows.entries[row])
            self._report.changed += 1
        self._describe(job, shard)
        added = rows.take([places[picture.url] for picture in job.added if picture.url in places])
        self._report.new += len(added)
        self._write(job.number, shard.finished(job.removed, added))
        for path in made:
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Remove what only an unfinished run needs."""
        self._unfinished.clear()

    def _embed(self, pictures: list[Picture], made: list[Path]) -> Iterator[Rows]:
        """The rows of pictures; ``made`` gets the files that keep them until there is a shard."""
        ready, left = self._unfinished.take(pictures)
        if ready is not None:
            self._advance(len(ready))
            yield ready
        sizes, max_pixels = self._options.sizes, self._options.max_pixels
        for batch in encode_pictures(left, self._encoder, max_pixels, sizes.batch):
            self._report.skipped += batch.passed
            if len(batch.rows):
                self._begin()
                made.append(self._unfinished.keep(batch.rows))
                yield batch.rows
            self._advance(len(batch.rows) + len(batch.passed))

    def _describe(self, job: Job, shard: ShardRows) -> None:
        """Give rows the new paths, captions and times of their pictures."""
        captioned = [place for place, each in job.described.items() if each.is_described_anew]
        captions = [job.described[place].picture.caption for place in captioned]
        if captioned:
            shard.text[captioned] = encode_captions(self._encoder, captions)
        entries = shard.entries(list(job.described))
        for (place, change), entry in zip(job.described.items(), entries, strict=True):
            image, text = (side[place].astype(np.float32) for side in (shard.image, shard.text))
            size = entry["width"], entry["height"]
            shard.describe(place, {**entry, **describe(change.picture, *size, float(image @ text))})
            if change.is_renamed:
                self._report.renamed += 1
            elif change.is_described_anew:
                self._report.changed += 1
            else:
                self._report.unchanged += 1

    def _write(self, number: int, rows: FinishedRows) -> None:
        self._begin()
        with ShardWriter(self._folder, number, self._encoder.dim) as writer:
            writer.append(rows.image, rows.text, rows.metadata)

    def _begin(self) -> None:
        """Say whose shards these are, before anything else is written: a run that fails earlier
        leaves the folder free for another model."""
        if not self._has_begun:
            options = self._options
            take_folder(self._folder, self._encoder, self._roots, options.every, options.scenes)
            self._has_begun = True
        elif not (self._folder / MANIFEST_NAME).exists():
            raise DiskError(f"{self._folder}: vanished in the middle; run the same command again")

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._total)
