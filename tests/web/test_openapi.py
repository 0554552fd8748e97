"""docs/openapi.json is what the server does: generated requests are answered as it says, by every operation."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from panorama_driver.exchange import About, Source, export
from panorama_driver.web import Dashboard, Library, Published
from panorama_driver.web._app import Application
from panorama_driver.web._openapi import document
from tests.web.found import found
from tests.web.serving import ask
from tests.web.stores import defects, embedded, hostile

KEPT = Path(__file__).parents[2] / "docs" / "openapi.json"
WRITE = "python -c 'from tests.web.test_openapi import write; write()'"
SCHEMA = schemathesis.openapi.from_dict(document())
OPERATIONS = [SCHEMA[path]["GET"] for path in document()["paths"] if path != "/api/live"]  # that one does not end
CALM = settings(
    max_examples=8,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


def text() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def write() -> None:
    """Keep the description as it is now."""
    KEPT.write_text(text(), encoding="utf-8")


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("studies")
    paths = [embedded(folder / "embedded"), hostile(folder / "hostile"), found(folder / "found")]
    paths.append(defects(folder / "defects.db"))
    export([Source("defects", str(paths[-1]))], folder / "open", about=About(title="Defects"))
    published = Published(folder / "open")
    with Library(paths, cache=None, published=published) as library, Dashboard(library, port=0) as serving:
        yield serving


@pytest.fixture(scope="module")
def ids(dashboard: Dashboard) -> list[dict[str, str]]:
    """Studies with a run of theirs and a job of that."""
    found = []
    for each in ask(dashboard, "/api/studies").json["studies"]:
        study = each["study"]
        runs = [row["wf_uuid"] for row in ask(dashboard, f"/api/studies/{study}").json["evaluations"] if row["wf_uuid"]]
        for run in runs:
            jobs = ask(dashboard, f"/api/studies/{study}/workflows/{run}").json["jobs"]
            # requests are made with slashes as they are, so that jobs with one are left to test_app.py
            names = [job["job_id"] for job in jobs if "/" not in job["job_id"]]
            found += [{"study": study, "workflow": run, "job": name} for name in names[:2]]
    return found


def test_the_description_that_is_kept_is_that_of_the_server() -> None:
    assert KEPT.read_text(encoding="utf-8") == text(), f"write it again with: {WRITE}"


def test_the_description_is_served(dashboard: Dashboard) -> None:
    assert ask(dashboard, "/api/openapi.json").json == json.loads(KEPT.read_text(encoding="utf-8"))


def test_every_address_of_the_api_is_described() -> None:
    application = Application.__new__(Application)
    served = {route.path for route in Application._routes(application) if route.path.startswith("/api")}
    assert served - {"/api{rest:path}"} == set(document()["paths"])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_what_exists_is_answered_as_described(operation: Any, dashboard: Dashboard, ids: list[dict[str, str]]) -> None:
    """Addresses of what exists, with queries that are right, of each operation."""
    seen: Counter[int] = Counter()

    @CALM
    @given(case=operation.as_strategy(), of=st.sampled_from(ids))
    def story(case: Any, of: dict[str, str]) -> None:
        case.path_parameters = {name: of[name] for name in re.findall(r"\{(\w+)\}", operation.path)}
        if operation.path.endswith("/series"):
            case.query = {**case.query, "job": of["job"]}  # an attempt is one of a job
            case.query.pop("attempt", None)
        if operation.path == "/api/anomalies":
            case.query = {**case.query, "study": of["study"]}
        answer = case.call_and_validate(base_url=dashboard.url.rstrip("/"))
        seen[answer.status_code] += 1

    story()
    assert set(seen) == {200}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_whatever_is_asked_is_answered_as_described(operation: Any, dashboard: Dashboard) -> None:
    """Addresses of what does not exist, queries that are wrong."""

    @CALM
    @given(case=operation.as_strategy(schemathesis.GenerationMode.NEGATIVE) | operation.as_strategy())
    def story(case: Any) -> None:
        case.call_and_validate(base_url=dashboard.url.rstrip("/"))

    story()
