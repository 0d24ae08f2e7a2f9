"""Where the contenders' files are, and which steps of preparing them are done."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest import ShardFiles


@dataclass(frozen=True)
class StepRecord:
    """A finished step: its seconds, the peak of the memory no file backs, the bytes on disk it
    left, and the machine's load average at its end, where that was noted."""

    step: str
    seconds: float
    memory: int
    disk: int
    load: float | None = None


@dataclass(frozen=True)
class Place:
    """The folder of one size. The table holds rows [0, rows) of the generator, as shard 0, so a
    row's id is its number."""

    base: Path
    rows: int

    @property
    def root(self) -> Path:
        return self.base / str(self.rows)

    @property
    def shard(self) -> ShardFiles:
        return ShardFiles(self.folder("shard"))

    def folder(self, name: str) -> Path:
        return self.root / name

    def fresh(self, name: str) -> Path:
        """A folder emptied of what a killed run left."""
        folder = self.folder(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def done(self) -> dict[str, StepRecord]:
        """The finished steps by name."""
        if not self._records.exists():
            return {}
        listed = json.loads(self._records.read_text())
        return {entry["step"]: StepRecord(**entry) for entry in listed}

    def record(self, finished: StepRecord) -> None:
        """Keep that a step is done, in one go, so that a kill leaves the old list or the new."""
        known = self.done() | {finished.step: finished}
        new = self._records.with_suffix(".part")
        new.write_text(json.dumps([asdict(entry) for entry in known.values()], indent=1) + "\n")
        new.replace(self._records)

    @property
    def _records(self) -> Path:
        return self.root / "steps.json"
