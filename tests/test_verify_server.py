"""tools/verify_server.py does its whole journey on the stand-in, and tells when one is wrong."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from forked import python
from standin.process import StandIn
from standin.users import OWNER, READER
from standin_cluster import StandInCluster

_TOOL = Path(__file__).parents[1] / "tools" / "verify_server.py"


def verify(server: StandIn, database: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*python(), str(_TOOL), "--rows", "80", *arguments],
        env=os.environ | {"CLIPHOUSE_DB": server.url(database)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_step_is_right_on_the_stand_in(server: StandIn) -> None:
    database = server.fresh()
    result = verify(server, database, "--reader", server.url(database, READER))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("20 steps, 0 failed\n")
    left_out = re.findall(r"left out +[\d.]+ s  ([^:]+)", result.stdout)
    assert left_out == ["encode_text on the server"]
    assert re.search(r"killed after \d+ rows", result.stdout)
    assert OWNER.password not in result.stdout + result.stderr
    dropped = server.seen("DROP TABLE")
    assert len(dropped) >= 2


def test_every_step_is_right_on_the_stand_in_of_a_cluster(two_shards: StandInCluster) -> None:
    database = two_shards.fresh()
    two_shards.statements()
    result = verify(two_shards, database, "--cluster", "two")
    said = two_shards.statements()
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("20 steps, 0 failed\n")
    assert sum(statement.startswith("DROP TABLE") for statement in said) == 4


def test_a_wrong_answer_is_a_failed_step(server: StandIn) -> None:
    """One step fails; the others, and the tidying up, are done all the same."""
    database = server.fresh()
    server.fail("error", "'l2'|L2Distance", times=99, text="Code: 241. DB::Exception: Memory. (M)")
    result = verify(server, database)
    assert result.returncode == 1
    assert re.search(r"FAILED +[\d.]+ s  search captions", result.stdout)
    assert "20 steps, 1 failed" in result.stdout
    assert server.seen("DROP TABLE")


def test_no_server_is_one_failed_step(server: StandIn) -> None:
    result = verify(server, "nowhere")
    assert result.returncode == 1
    assert "there is no database nowhere" in result.stdout
    assert result.stdout.endswith("1 steps, 1 failed\n")
