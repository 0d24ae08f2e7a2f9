"""deploy/cluster, as far as it can be judged without Docker and a server.

Its configuration is loaded by the real engine as it stands, but for the hosts; its users' rights
are tried on that engine, whose one user is given their role and profile.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import cliphouse
from cliphouse.schema.index_spec import IndexSpec
from conftest import Run
from shard_files import make_shard
from standin.process import StandIn
from standin.users import OWNER

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "deploy" / "cluster"
CONFIG = sorted((CLUSTER / "config.d").glob("*.xml"))
USERS = CLUSTER / "users.d" / "cliphouse.xml"
KEEPER = CLUSTER / "keeper" / "keeper_config.xml"
# Sections of a configuration that are no single settings.
SECTIONS = {
    *("remote_servers", "macros", "zookeeper", "distributed_ddl"),
    "interserver_http_credentials",
}
ENVIRONMENT = {
    "CLIPHOUSE_CLUSTER_SECRET": "between-nodes",
    "CLIPHOUSE_SHARD": "2",
    "CLIPHOUSE_REPLICA": "1",
    "CLIPHOUSE_GRAPH_CACHE": "7000000000",
    "CLIPHOUSE_BUILD_THREADS": "5",
    "CLIPHOUSE_LOADER_SHA256": hashlib.sha256(b"loader").hexdigest(),
    "CLIPHOUSE_SEARCHER_SHA256": hashlib.sha256(b"searcher").hexdigest(),
}
BASE_USERS = """
<clickhouse><profiles><default/></profiles><users><default><password/><quota>default</quota>
<networks><ip>::/0</ip></networks><profile>{profile}</profile><grants>{grants}</grants></default></users>
<quotas><default/></quotas></clickhouse>
"""
ASK = """
import json, sys, chdb
connection = chdb.connect(sys.argv[1])
for statement in sys.stdin.read().split(";"):
    print(json.dumps(json.loads(connection.query(statement, "JSON").bytes())["data"]))
"""


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((CLUSTER / "compose.yaml").read_text()))


def services(kind: str) -> dict[str, dict[str, Any]]:
    return {name: s for name, s in compose()["services"].items() if name.startswith(kind)}


def engine_config(folder: Path, role: str | None = None) -> Path:
    """The cluster's configuration for an engine here, its one user in ``role``."""
    for name in ("config.d", "users.d"):
        (folder / name).mkdir(parents=True)
    for path in CONFIG:
        local = re.sub(r"<host>clickhouse[\d-]+</host>", "<host>127.0.0.1</host>", path.read_text())
        (folder / "config.d" / path.name).write_text(local)
    (folder / "users.d" / USERS.name).write_text(USERS.read_text())
    # The stand-in says USE default; a server lets who names no database begin in their own.
    said = (f"GRANT {role}", "GRANT SHOW DATABASES ON default.*") if role else ("GRANT ALL ON *.*",)
    grants = "".join(f"<query>{grant}</query>" for grant in said)
    base = BASE_USERS.format(profile=role or "default", grants=grants)
    (folder / "users.xml").write_text(base)
    config = folder / "config.xml"
    config.write_text(
        f"<clickhouse><users_config>{folder / 'users.xml'}</users_config></clickhouse>"
    )
    return config


@contextmanager
def node(folder: Path, data: Path, role: str) -> Iterator[str]:
    """The address of the database ``cliphouse`` on a stand-in server, asked as ``role``."""
    config = engine_config(folder, role)
    with StandIn(data, (OWNER,), config=config, environment=os.environ | ENVIRONMENT) as started:
        yield started.url("cliphouse")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What the engine tells of itself when it has the cluster's configuration."""
    folder = tmp_path_factory.mktemp("node")
    asked = {
        "clusters": "SELECT cluster, shard_num, replica_num, port FROM system.clusters",
        "macros": "SELECT macro, substitution FROM system.macros",
        "server": "SELECT name, value FROM system.server_settings",
        "settings": "SELECT name FROM system.settings",
    }
    told = subprocess.run(
        [sys.executable, "-c", ASK, f"{folder}/data?config-file={engine_config(folder)}"],
        input=";".join(asked.values()),
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(asked, map(json.loads, told.stdout.splitlines()), strict=True))


def test_the_engine_sees_two_shards_of_two_replicas(
    engine: dict[str, list[dict[str, Any]]],
) -> None:
    found = {
        (row["cluster"], int(row["shard_num"]), int(row["replica_num"]), int(row["port"]))
        for row in engine["clusters"]
    }
    assert found == {("cliphouse", s, r, 9000) for s in (1, 2) for r in (1, 2)}
    macros = {row["macro"]: row["substitution"] for row in engine["macros"]}
    assert macros == {"cluster": "cliphouse", "shard": "2", "replica": "1"}


def test_the_engine_takes_the_sizes(engine: dict[str, list[dict[str, Any]]]) -> None:
    values = {row["name"]: row["value"] for row in engine["server"]}
    assert values["vector_similarity_index_cache_size"] == "7000000000"
    assert values["max_build_vector_similarity_index_thread_pool_size"] == "5"
    assert values["cache_size_to_ram_max_ratio"] == "0.7"
    assert values["merges_mutations_memory_usage_to_ram_ratio"] == "0.9"


def test_every_setting_is_one_of_the_engine(engine: dict[str, list[dict[str, Any]]]) -> None:
    server = {row["name"] for row in engine["server"]}
    named = [element.tag for path in CONFIG for element in ET.parse(path).getroot()]
    assert {"remote_servers", "vector_similarity_index_cache_size"} <= set(named)
    assert set(named) - SECTIONS <= server
    settings = {row["name"] for row in engine["settings"]}
    for profile in ET.parse(USERS).getroot().iterfind("profiles/*"):
        constraints = profile.find("constraints")
        own = [e.tag for e in profile if e is not constraints]
        own += [] if constraints is None else [e.tag for e in constraints]
        assert own and set(own) <= settings


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table that the loader has made, indexed and measured."""
    folder = tmp_path_factory.mktemp("cluster")
    for number in range(2):
        make_shard(folder / "s", number, rows=200, dim=16)
    with node(folder / "loader", folder / "data", "cliphouse_loader") as address:
        with cliphouse.open(address.replace("/cliphouse", "/default")) as beside:
            beside.sql("CREATE DATABASE cliphouse")
        with cliphouse.open(address) as table:
            table.ingest(folder / "s")
            table.index(IndexSpec(m=16))
            assert table.recall(queries=5)
            assert table.check(folder / "s").is_good
            with pytest.raises(cliphouse.CliphouseError, match="DROP DATABASE"):
                table.sql("DROP DATABASE cliphouse")
    return folder


def test_the_searcher_searches_and_does_nothing_else(loaded: Path) -> None:
    vectors = np.vstack([np.load(p) for p in sorted((loaded / "s").rglob("img_emb*.npy"))])
    vectors = vectors.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.argsort(-vectors @ vectors[7])[:10]
    with (
        node(loaded / "searcher", loaded / "data", "cliphouse_searcher") as address,
        cliphouse.open(address) as table,
    ):
        for mode in ("exact", "hnsw"):
            hits = table.search(vectors[7], k=10, mode=mode, ef=400 if mode == "hnsw" else None)
            assert [hit.id for hit in hits] == [int(n // 200 << 32 | n % 200) for n in nearest]
        assert len(table.search("id:7", k=5, where="width > 120")) == 5
        assert table.summary().rows == 400
        for statement, refused in {
            "INSERT INTO laion (id) VALUES (1)": "INSERT",
            "DROP TABLE laion": "DROP TABLE",
            "SELECT * FROM file('/etc/passwd', 'LineAsString')": "READ ON FILE",
            "SELECT * FROM system.query_log": "query_log",
            "SELECT 1 SETTINGS max_memory_usage = 20000000000": "max_memory_usage",
            "SELECT 1 SETTINGS readonly = 0": "readonly",
        }.items():
            with pytest.raises(cliphouse.CliphouseError, match=refused):
                table.sql(statement)


def test_the_searcher_may_ask_for_all_that_is_asked_of_the_engine() -> None:
    """The system tables in this project's statements are those that it was granted."""
    sources = [path.read_text() for path in (ROOT / "src/cliphouse").rglob("*.py")]
    asked = {name for text in sources for name in re.findall(r"\bsystem\.([a-z_]+)", text)}
    asked |= {name for text in sources for name in re.findall(r"\bsystem\(['\"]([a-z_]+)", text)}
    asked -= {"processes", "detached_parts"}  # of the embedded engine alone
    granted = set(re.findall(r"GRANT SELECT ON system\.([a-z_]+)", USERS.read_text()))
    assert {"parts", "tables"} <= asked
    assert asked <= granted


def test_nodes_are_where_the_configuration_says() -> None:
    root = ET.parse(CLUSTER / "config.d" / "cluster.xml").getroot()
    shards = root.findall("remote_servers/cliphouse/shard")
    assert [shard.findtext("internal_replication") for shard in shards] == ["true", "true"]
    said = {
        replica.findtext("host"): (str(s), str(r))
        for s, shard in enumerate(shards, 1)
        for r, replica in enumerate(shard.findall("replica"), 1)
    }
    nodes = services("clickhouse")
    assert said == {
        service["hostname"]: (
            service["environment"]["CLIPHOUSE_SHARD"],
            service["environment"]["CLIPHOUSE_REPLICA"],
        )
        for service in nodes.values()
    }
    assert set(said) == set(nodes)


def test_keepers_are_where_the_configuration_says() -> None:
    nodes = ET.parse(CLUSTER / "config.d" / "cluster.xml").getroot().iterfind("zookeeper/node")
    asked = {(node.findtext("host"), node.findtext("port")) for node in nodes}
    keeper = ET.parse(KEEPER).getroot()
    port = keeper.findtext("keeper_server/tcp_port")
    keepers = services("keeper")
    assert asked == {(name, port) for name in keepers}
    assert {
        (s.findtext("id"), s.findtext("hostname"))
        for s in keeper.iterfind("keeper_server/raft_configuration/server")
    } == {(s["environment"]["CLIPHOUSE_KEEPER"], s["hostname"]) for s in keepers.values()}
    ready = keeper.findtext("keeper_server/http_control/port")
    assert all(f":{ready}/ready" in s["healthcheck"]["test"][-1] for s in keepers.values())


def test_what_the_files_take_from_the_environment_is_given() -> None:
    def wanted(*paths: Path) -> set[str]:
        named = {element.get("from_env") for path in paths for element in ET.parse(path).iter()}
        return {name for name in named if name}

    for service in services("clickhouse").values():
        assert wanted(*CONFIG, USERS) <= set(service["environment"])
    for service in services("keeper").values():
        assert wanted(KEEPER) == set(service["environment"])
    assert wanted(*CONFIG, USERS) == set(ENVIRONMENT)


def test_compose_refers_to_what_is_there() -> None:
    whole = compose()
    for service in whole["services"].values():
        assert set(service.get("depends_on", ())) <= set(whole["services"])
        assert service["healthcheck"]["test"][0] == "CMD"
        for mount in service["volumes"]:
            source, target = re.sub(r"\$\{[^}]*:-([^}]*)\}", r"\1", mount).split(":")[:2]
            assert target.startswith("/")
            if source == "./models":
                continue  # made by who starts it
            assert (CLUSTER / source).exists() if source[0] == "." else source in whole["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        if build := service.get("build"):
            assert (CLUSTER / build["context"]).resolve() == ROOT
            assert (ROOT / build["dockerfile"]).is_file()


def test_images_are_pinned_to_one_version_and_no_password_is_written_down() -> None:
    images = [s["image"] for s in compose()["services"].values()]
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    images += re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert {image.rpartition(":")[2] for image in images} == {"26.9"}
    for path in (*CONFIG, USERS, KEEPER):
        for element in ET.parse(path).iter():
            if "password" in element.tag or element.tag == "secret":
                assert element.get("from_env") and not element.text


@pytest.mark.parametrize("model", ["tiny", "ViT-B/32"])
def test_the_image_installs_the_functions(tmp_path: Path, run: Run, model: str) -> None:
    """The Dockerfile's own command, with its folders below tmp_path."""
    text = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"cliphouse udf install (.*)", text)
    arguments = [
        str(tmp_path / word[1:]) if word.startswith("/") else word
        for word in shlex.split(line.replace("$CLIPHOUSE_MODEL", model))
    ]
    for name in ("--config", "--scripts"):
        Path(arguments[arguments.index(name) + 1]).mkdir(parents=True)
    finished = run("udf", "install", *arguments)
    assert finished.returncode == 0, finished.stderr
    scripts = Path(arguments[arguments.index("--scripts") + 1])
    assert os.access(scripts / "encode_text", os.X_OK)
    assert json.loads((scripts / "encoder.json").read_text())["model"] == model
    copied = re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)
    assert all((ROOT / word).exists() for words in copied for word in words.split())
