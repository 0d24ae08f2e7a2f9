"""The browser that the page is tested and measured in. Run as a program, it gets one.

    python benchmarks/headless.py

If no Chromium starts, playwright downloads its own; if that fails, apt-get installs one, provided
that it needs no password.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)
_START_SECONDS, _INSTALL_SECONDS = 60, 900
_PLAYWRIGHT = (sys.executable, "-m", "playwright")


class NoBrowserError(Exception):
    """No Chromium is installed, or none starts."""


@dataclass(frozen=True)
class Step:
    """A way to get a browser: commands that all have to succeed."""

    label: str
    commands: tuple[tuple[str, ...], ...]

    def run(self) -> bool:
        print(f"{self.label} ...", flush=True)
        return all(map(_succeeds, self.commands))


def launch(playwright: Playwright, *arguments: str) -> Browser:
    """Chromium without a window: the system's, or else the one that playwright has downloaded;
    ``arguments`` are given to it besides its usual ones.

    Raises NoBrowserError if neither starts.
    """
    found = (shutil.which(name) for name in ("chromium", "chromium-browser"))
    for path in (*filter(None, found), None):
        try:
            return playwright.chromium.launch(
                executable_path=path,
                args=[*_ARGUMENTS.split(), *arguments],
                timeout=_START_SECONDS * 1000,
            )
        except Error:
            continue
    raise NoBrowserError("no browser starts; get one with: make browser")


def main() -> int:
    """Get a browser if there is none; the exit code."""
    if _starts():
        return 0
    for step in _steps():
        if step.run() and _starts():
            return 0
    print(
        "no browser for the page's tests, and none could be downloaded or installed here; "
        "install one, on Debian with: apt-get install chromium",
        file=sys.stderr,
    )
    return 1


def _starts() -> bool:
    with sync_playwright() as playwright:
        try:
            launch(playwright).close()
        except NoBrowserError:
            return False
    return True


def _steps() -> list[Step]:
    """The ways to get a browser that are open to this user, in their order."""
    download = (*_PLAYWRIGHT, "install", "--only-shell", "chromium")
    steps = [Step("No browser yet: playwright downloads one", (download,))]
    root = () if os.geteuid() == 0 else ("sudo", "-n")
    if shutil.which("apt-get") and (not root or _succeeds((*root, "true"))):
        apt = (*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq")
        install = (*apt, "install", "-y", "--no-install-recommends", "chromium")
        libraries = (*root, *_PLAYWRIGHT, "install-deps", "chromium")
        steps += [
            Step("No browser yet: apt-get installs one", ((*apt, "update"), install)),
            # As on Ubuntu, which has chromium as a snap only: playwright's own may lack libraries.
            Step("No browser yet: apt-get installs what playwright's needs", (libraries,)),
        ]
    return steps


def _succeeds(command: tuple[str, ...]) -> bool:
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
