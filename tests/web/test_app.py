"""The dashboard's HTTP: who is let in, what is told to browsers, and documents that are the same by all ways."""

from __future__ import annotations

import contextlib
import csv
import gzip
import http.client
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from panorama_driver.errors import EnvironmentMissingError, UsageError
from panorama_driver.web import Dashboard, Library
from panorama_driver.web._access import checked_root
from panorama_driver.web._operations import _cell, table
from panorama_driver.web.documents import (
    JobDocument,
    MetricsDocument,
    StudyDocument,
    StudyList,
    TransferList,
    WorkflowDocument,
)
from tests.web.serving import ask, streaming
from tests.web.stores import HOSTILE, embedded, hostile

TOKEN = "0123456789abcdef"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
    "style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; base-uri 'self'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("studies")
    embedded(folder / "embedded")
    hostile(folder / "hostile")
    with Library([folder], cache=None) as library:
        yield library


@pytest.fixture(scope="module")
def dashboard(library: Library) -> Iterator[Dashboard]:
    with Dashboard(library, port=0) as serving:
        yield serving


@pytest.fixture(scope="module")
def guarded(library: Library) -> Iterator[Dashboard]:
    with Dashboard(library, port=0, token=TOKEN, root_path="/tools/panorama") as serving:
        yield serving


def study(dashboard: Dashboard, name: str = "embedded") -> str:
    found = ask(dashboard, f"/api/studies?search={name}").json["studies"]
    return str(found[0]["study"])


def workflow(dashboard: Dashboard, name: str = "embedded", number: int = 0) -> str:
    """Address of a run in the API."""
    of = study(dashboard, name)
    return f"/api/studies/{of}/workflows/{ask(dashboard, f'/api/studies/{of}').json['evaluations'][number]['wf_uuid']}"


# --- documents -------------------------------------------------------------------------------------------------------


def test_documents_are_the_records_that_are_promised(dashboard: Dashboard) -> None:
    run = workflow(dashboard)
    msgspec.json.decode(ask(dashboard, "/api/studies").body, type=StudyList)
    msgspec.json.decode(ask(dashboard, f"/api/studies/{study(dashboard)}").body, type=StudyDocument)
    document = msgspec.json.decode(ask(dashboard, run).body, type=WorkflowDocument)
    for job in document.jobs:
        found = msgspec.json.decode(ask(dashboard, f"{run}/jobs/{job.job_id}").body, type=JobDocument)
        assert found.job.job_id == job.job_id


def test_metrics_are_those_of_panorama_show(dashboard: Dashboard, library: Library) -> None:
    home = next(each.home for each in library.studies("embedded").studies)
    code = "from panorama_driver.cli import main; main()"
    words = [sys.executable, "-c", code, "show", "1", "--study", home, "--json"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    served = ask(dashboard, f"{workflow(dashboard)}/metrics")
    assert served.json == json.loads(shown.stdout)
    msgspec.json.decode(served.body, type=MetricsDocument)


def test_while_many_wait_for_a_long_run_all_else_is_answered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read, asked = threading.Event(), threading.Semaphore(0)

    def transfers(*_: object) -> TransferList:
        asked.release()
        read.wait(30)
        return TransferList(study="s", wf_uuid="w", transfers=[])

    with Library([tmp_path], cache=None) as library, ThreadPoolExecutor(40) as clients:
        monkeypatch.setattr(library, "transfers", transfers)
        with Dashboard(library, port=0) as dashboard:
            paths = [f"/api/studies/s/workflows/{number}/transfers" for number in range(40)]
            waiting = [clients.submit(ask, dashboard, path) for path in paths]
            try:
                assert all(asked.acquire(timeout=10) for _ in range(16))
                assert ask(dashboard, "/api/studies").status == 200
            finally:
                read.set()
            assert {each.result().status for each in waiting} == {200}


def test_a_folder_whose_name_is_no_utf8_is_shown_and_costs_no_other(tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"plain"):
        kept = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name, b".panorama")))
        kept.mkdir(parents=True)
        (kept / "journal.jsonl").touch()
    with Library([tmp_path], cache=None) as library, Dashboard(library, port=0) as dashboard:
        found = ask(dashboard, "/api/studies").json["studies"]
        assert {each["name"] for each in found} == {r"caf\udce9", "plain"}
        assert {ask(dashboard, f"/api/studies/{each['study']}").status for each in found} == {200}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_job_of_any_name_has_an_address(dashboard: Dashboard, name: str) -> None:
    run = workflow(dashboard, "hostile", list(HOSTILE).index(name))
    for job in ask(dashboard, run).json["jobs"]:
        found = ask(dashboard, f"{run}/jobs/{quote(job['job_id'], safe='')}")
        assert (found.status, found.json["job"]["job_id"]) == (200, job["job_id"])


@pytest.mark.parametrize(
    "path",
    [
        "/api/studies/none",
        "/api/studies/none/evaluations.csv",
        "/api/studies/{study}/workflows/none",
        "/api/studies/{study}/workflows/none/metrics",
        "/api/studies/{study}/workflows/none/series",
        "/api/studies/{study}/workflows/none/transfers",
        "{run}/jobs/none",
        "{run}/jobs/%2F..%2F",
        "{run}/jobs/%FF%00",
        "{run}/series?job=none",
        "{run}/series?attempt=1",
        "/api",
        "/api/",
        "/api/none",
        "/api/studies/",
        "/api/studies/%2e%2e",
        "/static/none.js",
        "/static/",
        "/static/../documents.py",
        "/static/..%2Fdocuments.py",
        "/static/%2Fetc%2Fpasswd",
        "/static/pages",
    ],
)
def test_what_is_not_there_is_a_problem_in_words(dashboard: Dashboard, path: str) -> None:
    answer = ask(dashboard, path.format(study=study(dashboard), run=workflow(dashboard)))
    assert (answer.status, list(answer.json)) == (404, ["problem"])
    assert len(answer.json["problem"]) > 10


@pytest.mark.parametrize("query", ["page=0", "page=x", "page=1.5", "size=501", "size=-1", "page=" + 30 * "9"])
def test_a_query_that_is_wrong_is_told_so(dashboard: Dashboard, query: str) -> None:
    answer = ask(dashboard, f"/api/studies?{query}")
    assert answer.status == 400
    assert "$" in answer.json["problem"]


@pytest.mark.parametrize("query", ["width=0", "width=nan", "width=inf", "job=x&attempt=-1"])
def test_a_query_of_a_series_is_checked(dashboard: Dashboard, query: str) -> None:
    assert ask(dashboard, f"{workflow(dashboard)}/series?{query}").status == 400


def test_a_document_that_the_client_has_is_not_sent_again(dashboard: Dashboard) -> None:
    path = f"/api/studies/{study(dashboard)}"
    first = ask(dashboard, path)
    again = ask(dashboard, path, If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert "x-panorama-cursor" in again.headers
    assert again.headers["cache-control"] == "private, no-cache"
    assert ask(dashboard, path, If_None_Match='"other", W/"another"').status == 200


def test_what_is_large_is_compressed_for_those_who_take_it(dashboard: Dashboard) -> None:
    path = f"{workflow(dashboard)}/metrics"
    plain = ask(dashboard, path)
    packed = ask(dashboard, path, Accept_Encoding="br, gzip;q=0.8")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in ask(dashboard, path, Accept_Encoding="gzip;q=0").headers


def test_those_who_ask_at_once_share_one_reading(dashboard: Dashboard, library: Library) -> None:
    read, gate = library.study, threading.Event()
    calls: list[str] = []

    def slow(name: str) -> StudyDocument:
        calls.append(name)
        gate.wait(5)
        return read(name)

    path = f"/api/studies/{study(dashboard)}"
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(8) as clients:
        patch.setattr(library, "study", slow)
        asked = [clients.submit(ask, dashboard, path) for _ in range(8)]
        time.sleep(0.3)  # all eight wait by then, or the test shows less
        gate.set()
        bodies = {each.result().body for each in asked}
    assert len(bodies) == 1
    assert len(calls) < 8


def test_a_fault_of_ours_is_a_problem_with_the_headers_of_all(
    dashboard: Dashboard, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*told: object) -> None:
        raise RuntimeError("words that are nobody's business")

    monkeypatch.setattr(library, "studies", fault)
    answer = ask(dashboard, "/api/studies")
    assert (answer.status, "nobody's business" in answer.json["problem"]) == (500, False)
    assert answer.headers["content-security-policy"] == POLICY
    monkeypatch.undo()
    assert ask(dashboard, "/api/studies").status == 200


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_has_a_line_an_evaluation_and_the_numbers_of_the_page(dashboard: Dashboard) -> None:
    path = f"/api/studies/{study(dashboard)}"
    answer = ask(dashboard, f"{path}/evaluations.csv")
    document = ask(dashboard, path).json
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="embedded-\w+\.csv"', answer.headers["content-disposition"])
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert len(rows) == len(document["evaluations"])
    [x] = [place for place, column in enumerate(document["columns"]) if column["name"] == "x"]
    assert [float(row["x"]) for row in rows] == [row["values"][x] for row in document["evaluations"]]
    [failed] = [row for row in rows if row["state"] == "failed"]
    assert failed["y"] == ""


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_a_text_that_begins_like_a_formula_is_marked_as_a_text(begin: str) -> None:
    assert _cell(f"{begin}1+1") == f"'{begin}1+1"


def test_no_cell_of_the_table_is_a_formula(library: Library) -> None:
    name = library.studies("hostile").studies[0].study
    cells = [cell for row in csv.reader(io.StringIO(table(library.study(name)))) for cell in row]
    assert f"'{HOSTILE['formula']}" in cells
    assert not [cell for cell in cells if cell[:1] in "=+@\t\r" and cell]


# --- pages and modules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/studies", "/studies/a", "/studies/a/workflows/b/jobs/c%2Fd", "/none", "/a/b/c"]
)
@pytest.mark.parametrize("prefix", ["", "/tools/panorama"])
def test_every_page_is_the_shell_with_the_base_of_the_prefix(guarded: Dashboard, path: str, prefix: str) -> None:
    answer = ask(guarded, prefix + path)
    assert answer.status == (404 if path in ("/none", "/a/b/c") else 200)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.body.count(b"<base ") == answer.body.count(b'<base href="/tools/panorama/">') == 1
    assert answer.headers["content-security-policy"] == POLICY


def test_modules_are_asked_for_again_and_the_chart_library_of_a_version_never(dashboard: Dashboard) -> None:
    module = ask(dashboard, "/static/app.js")
    assert module.headers["content-type"].startswith("text/javascript")
    assert module.headers["cache-control"] == "no-cache"
    assert ask(dashboard, "/static/app.js", If_None_Match=module.headers["etag"]).status == 304
    [version] = re.findall(rb'<meta name="plotly" content="([\d.]+)">', ask(dashboard, "/").body)
    plotly = ask(dashboard, f"/static/plotly.min.js?v={version.decode()}", Accept_Encoding="gzip")
    assert plotly.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert gzip.decompress(plotly.body).startswith(b"/**\n* plotly.js")
    assert ask(dashboard, "/static/plotly.min.js?v=0", method="HEAD").headers["cache-control"] == "no-cache"


def test_every_module_that_a_module_names_is_there(dashboard: Dashboard) -> None:
    seen: set[str] = set()
    wanted = {"static/app.js", "static/live.js"}
    while wanted - seen:
        name = (wanted - seen).pop()
        seen.add(name)
        answer = ask(dashboard, f"/{name}")
        assert answer.status == 200, name
        for found in re.findall(r"""(?:from |import\()["'](\.[^"']+)["']""", answer.body.decode()):
            url = re.sub(r"[^/]+/\.\./", "", f"{name.rpartition('/')[0]}/{found}".replace("/./", "/"))
            wanted.add(url)


# --- who is let in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/api/studies", "/api/live", "/static/app.js", "/none"])
def test_nothing_takes_anything_but_get_and_head(dashboard: Dashboard, method: str, path: str) -> None:
    answer = ask(dashboard, path, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/api/studies", "/api/none", "/api/live", "/static/app.js", "/none"])
def test_every_answer_tells_browsers_what_they_may(dashboard: Dashboard, path: str) -> None:
    for answer in (ask(dashboard, path, method="HEAD"), ask(dashboard, path, method="POST")):
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8360", "127.0.0.1", "127.0.0.1:1", "[::1]:8360", "localhost."]
)
def test_names_of_this_machine_are_answered(dashboard: Dashboard, host: str) -> None:
    assert ask(dashboard, "/api/studies", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost:80:80", "localhost@evil.example", "", "[::1", "10.0.0.1"],
)
@pytest.mark.parametrize("path", ["/", "/api/studies", "/api/health"])
def test_a_foreign_name_for_this_machine_is_refused(dashboard: Dashboard, host: str, path: str) -> None:
    answer = ask(dashboard, path, Host=host)
    assert answer.status == 400
    assert "--allow-host" in answer.json["problem"]


def test_a_proxys_name_can_be_allowed(library: Library) -> None:
    with Dashboard(library, port=0, allow_hosts=["Portal.Example.org"]) as serving:
        assert ask(serving, "/api/studies", Host="portal.example.org:443").status == 200
        assert ask(serving, "/api/studies", Host="localhost").status == 200
        assert ask(serving, "/api/studies", Host="other.example.org").status == 400


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_scripts_of_other_sites_get_nothing_and_links_work(dashboard: Dashboard, site: str) -> None:
    assert ask(dashboard, "/api/live", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403
    assert ask(dashboard, "/api/studies", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate").status == 200
    assert ask(dashboard, "/api/studies", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors").status == 200


def test_without_the_token_there_are_pages_and_no_data(guarded: Dashboard) -> None:
    for path in ("/api/studies", "/api/live", "/api/none", "/api/openapi.json", "/tools/panorama/api/studies", "/api"):
        refused = ask(guarded, path)
        assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Bearer realm="panorama"')
        assert "#token=" in refused.json["problem"]
        assert "set-cookie" not in refused.headers
    assert ask(guarded, "/api/health").json == {"state": "ok"}
    assert ask(guarded, "/").status == ask(guarded, "/static/app.js").status == 200


@pytest.mark.parametrize("told", ["Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer {TOKEN}x", "Bearer \xe9"])
def test_what_is_not_the_token_is_refused(guarded: Dashboard, told: str) -> None:
    assert ask(guarded, "/api/studies", Authorization=told).status == 401
    assert ask(guarded, "/api/studies", Cookie=f"panorama={TOKEN}; {told}").status == 401


def test_the_token_opens_the_api_and_leaves_a_cookie_for_streams_and_files(guarded: Dashboard) -> None:
    shown = ask(guarded, "/tools/panorama/api/studies", Authorization=f"bearer {TOKEN}")
    assert shown.status == 200
    cookie, *rest = shown.headers["set-cookie"].split("; ")
    assert rest == ["Path=/tools/panorama/api", "HttpOnly", "SameSite=Strict"]
    assert TOKEN not in cookie
    again = ask(guarded, "/tools/panorama/api/studies", Cookie=f"other=1; {cookie}")
    assert (again.status, "set-cookie" in again.headers) == (200, False)
    with streaming(guarded, "?topic=studies", Cookie=cookie):
        pass
    assert ask(guarded, "/api/studies", Cookie=f'of another={{"a": 1}}; {cookie}').status == 200
    assert ask(guarded, "/api/studies", Cookie=cookie[:-1] + "0g").status == 401
    behind = ask(guarded, "/api/studies", Authorization=f"Bearer {TOKEN}", X_Forwarded_Proto="https")
    assert behind.headers["set-cookie"].endswith("; Secure")


@pytest.mark.parametrize(
    "root", ["panorama", "/a//b", "/..", "/a/../b", '/"><script>', "/a b", "/%41", "/é", "/api", "/static/x"]
)
def test_a_prefix_that_would_not_do_is_refused(root: str) -> None:
    with pytest.raises(UsageError, match="--root-path"):
        checked_root(root)


def test_a_prefix_may_end_in_a_slash() -> None:
    assert [checked_root(root) for root in ("", "/", "/a/", "/a/b.c/~d")] == ["", "", "/a", "/a/b.c/~d"]


@pytest.mark.parametrize("token", ["", "two words", "\u00e9", "line\nend"])
def test_a_token_that_no_header_can_hold_is_refused(library: Library, token: str) -> None:
    with pytest.raises(UsageError, match="token"):
        Dashboard(library, port=0, token=token)


def test_others_are_not_let_in_without_a_token(library: Library) -> None:
    with pytest.raises(UsageError, match=r"token is needed.*ssh -L"):
        Dashboard(library, host="0.0.0.0", port=0)
    with Dashboard(library, host="0.0.0.0", port=0, token=TOKEN) as serving:
        assert not serving.private
        local = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=5)
        with contextlib.closing(local):
            local.request("GET", "/api/studies", headers={"Host": "login.example.org"})
            assert local.getresponse().status == 401


def test_the_next_port_is_taken_unless_one_is_told(library: Library) -> None:
    with Dashboard(library) as first, Dashboard(library) as second:
        assert first.port != second.port
        with pytest.raises(EnvironmentMissingError, match=rf"{first.port}.*--port"):
            Dashboard(library, port=first.port)


def test_an_address_that_is_not_ours_is_told(library: Library) -> None:
    with pytest.raises(EnvironmentMissingError, match=r"192\.0\.2\.1"):
        Dashboard(library, host="192.0.2.1", port=0, token=TOKEN)
    with pytest.raises(EnvironmentMissingError, match="no such address"):
        Dashboard(library, host="no.such.host.invalid", port=0, token=TOKEN)
