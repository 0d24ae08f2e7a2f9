"""How ``make test`` gets its browser, on a machine that has none and no way to one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HEADLESS = Path(__file__).parents[1] / "benchmarks" / "headless.py"
_APT_GET = '#!/bin/sh\necho "$@" >> "$(dirname "$0")/asked"\nexit 1\n'
_SUDO = '#!/bin/sh\ntest "$1" = -n && shift && exec "$@"\n'


def test_every_way_to_a_browser_is_tried_before_one_line_says_so(tmp_path: Path) -> None:
    """Playwright's server cannot be reached, and apt-get refuses."""
    for name, script in (("apt-get", _APT_GET), ("sudo", _SUDO)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    for name in ("env", "sh", "dirname", "true"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    result = subprocess.run(
        [sys.executable, str(HEADLESS)],
        env=os.environ
        | {
            "PATH": str(tmp_path),
            "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "browsers"),
            "PLAYWRIGHT_DOWNLOAD_HOST": "http://127.0.0.1:1",
        },
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert result.returncode == 1
    assert [line.split(": ")[1].split()[0] for line in result.stdout.splitlines()] == [
        *("playwright", "apt-get", "apt-get")
    ]
    assert "-qq update" in (tmp_path / "asked").read_text()
    (line,) = result.stderr.splitlines()
    assert line.endswith("install one, on Debian with: apt-get install chromium")
