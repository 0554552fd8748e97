"""`panorama serve` as a process of its own: what it says, whom it lets in, how it ends; and beside `panorama study`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.web.stores import Growing, front

CODE = "from panorama_driver.cli import main; main()"
WITHIN = 30.0


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A study that somebody has ended in the middle."""
    with Growing(tmp_path / "studies" / "growing") as study:
        study.succeed(1, study.begin(1, x=0.1), 0.04)
    return study.home


@pytest.fixture(autouse=True)
def _parent(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()


@contextmanager
def serving(*words: str, cwd: Path, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server, and the first line that it says."""
    with subprocess.Popen(
        [sys.executable, "-c", CODE, "serve", *words],
        cwd=cwd,
        env=os.environ | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


def refused(*words: str, cwd: Path, **more: str) -> tuple[int, str]:
    """Exit code and last words of a server that does not come up."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, "serve", *words],
        cwd=cwd,
        env=os.environ | more,
        capture_output=True,
        text=True,
        timeout=WITHIN,
    )
    return done.returncode, done.stderr


def get(url: str, token: str = "") -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=WITHIN) as answer:
        return json.load(answer)


def url_of(line: str) -> str:
    return str(re.findall(r"http://[^\s#]+/", line)[0])


@pytest.mark.parametrize("place", ["inside", "above", "file", "named"])
def test_it_serves_the_study_of_this_directory_or_those_below_or_what_is_named(home: Path, place: str) -> None:
    words, cwd = {
        "inside": ([], home / ".panorama"),
        "above": ([], home.parent),
        "file": ([str(home / ".panorama" / "store.db")], Path("/")),
        "named": (["growing"], home.parent),
    }[place]
    with serving(*words, "--port", "0", cwd=cwd) as (_, line):
        assert line.startswith("dashboard: http://127.0.0.1:")
        [study] = get(f"{url_of(line)}api/studies")["studies"]
    assert study["kind"] == ("store" if place == "file" else "study")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_within_a_second_with_streams_open(home: Path, number: signal.Signals) -> None:
    with serving(str(home), "--port", "0", "--json", cwd=home) as (process, line):
        told = json.loads(line)
        assert told["url"] == f"http://{told['host']}:{told['port']}/"
        streams = [urllib.request.urlopen(f"{told['url']}api/live?topic=studies", timeout=WITHIN) for _ in range(20)]
        assert all(stream.readline().startswith(b"retry:") for stream in streams)
        begin = time.monotonic()
        process.send_signal(number)
        said, problems = process.communicate(timeout=WITHIN)
        taken = time.monotonic() - begin
        for stream in streams:
            stream.read()
            stream.close()
    assert (process.returncode, said, problems) == (0, "", "")
    assert taken < 1.5, taken  # a second, and what a busy machine takes over the end of a process


def test_the_token_stays_in_its_file(home: Path) -> None:
    file = home / "token"
    file.write_text("geheim-0123\n")
    file.chmod(0o644)
    assert refused(str(home), "--token-file", str(file), cwd=home) == (
        2,
        f"panorama: {file}: others may read this token: chmod 600 {file}\n",
    )
    file.chmod(0o600)
    with serving(str(home), "--port", "0", "--token-file", str(file), "--root-path", "/x/", cwd=home) as (
        process,
        line,
    ):
        assert "geheim" not in line
        assert f"#token=TOKEN at its end, TOKEN being what stands in {file}" in line
        assert url_of(line).endswith("/x/")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{url_of(line)}api/studies")
        assert get(f"{url_of(line)}api/studies", "geheim-0123")["total"] == 1
        assert "geheim" not in Path(f"/proc/{process.pid}/cmdline").read_text()


def test_the_token_may_come_by_the_environment(home: Path) -> None:
    with serving(str(home), "--port", "0", cwd=home, PANORAMA_TOKEN="geheim") as (_, line):
        assert "geheim" not in line
        assert "$PANORAMA_TOKEN" in line
        assert get(f"{url_of(line)}api/studies", "geheim")["total"] == 1


def test_open_hands_the_token_on_in_a_file_of_ours(home: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\nstat -c %a "${{1#file://}}" > {tmp_path}/mode; cp "${{1#file://}}" {tmp_path}/page\n'
    )
    browser.chmod(0o755)
    more = {"PANORAMA_TOKEN": "geheim+1", "BROWSER": str(browser)}
    with serving(str(home), "--port", "0", "--open", cwd=home, **more) as (process, line):
        until((tmp_path / "page").exists)
        process.terminate()
        process.wait(WITHIN)
    assert (tmp_path / "mode").read_text() == "600\n"
    assert f"url={url_of(line)}#token=geheim%2B1" in (tmp_path / "page").read_text()


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code, words = refused(cwd=empty)
    assert (code, f"no study in {empty}" in words, "panorama init" in words) == (2, True, True)
    code, words = refused("none", cwd=empty)
    assert (code, words.startswith("panorama: none: no such file or folder")) == (2, True)
    code, words = refused(".", "--host", "0.0.0.0", cwd=empty)
    assert (code, "--token-file" in words) == (2, True)
    code, words = refused(".", "--root-path", "x", cwd=empty)
    assert (code, "--root-path" in words) == (2, True)


def test_a_folder_may_fill_later(home: Path, tmp_path: Path) -> None:
    with serving(str(tmp_path / "studies"), "--port", "0", cwd=tmp_path) as (_, line):
        assert get(f"{url_of(line)}api/studies")["total"] == 1


def test_a_taken_port_is_told_and_the_next_is_found(home: Path) -> None:
    with serving(str(home), "--json", cwd=home) as (_, line):
        port = json.loads(line)["port"]
        code, words = refused(str(home), "--port", str(port), cwd=home)
        assert (code, f"127.0.0.1:{port}" in words) == (3, True)


def test_without_the_extra_it_says_what_to_install(home: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from panorama_driver.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", str(home)], capture_output=True, text=True, timeout=WITHIN, cwd=tmp_path
    )
    assert done.returncode == 3
    assert "uvicorn" in done.stderr
    assert "pip install 'panorama-driver[web]'" in done.stderr


def test_a_study_is_served_while_it_runs(dakota: str, tmp_path: Path) -> None:
    home = front(tmp_path / "front")
    words = [sys.executable, "-c", CODE, "study", "--plain", "--serve", str(home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        line = next(line for line in lines if line.startswith("dashboard: "))
        assert "while the study runs" in line
        assert get(f"{url_of(line)}api/health") == {"state": "ok"}
        rest = list(lines)
    assert process.returncode == 0
    assert any(f"serve {home}" in line for line in rest)
    with pytest.raises(urllib.error.URLError):
        get(f"{url_of(line)}api/health")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_repository_is_shown_to_everybody_and_nothing_else_is(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    export = [sys.executable, "-c", CODE, "export", str(home), "-o", "open", "--license", "CC0-1.0"]
    subprocess.run(export, cwd=tmp_path, check=True, timeout=WITHIN)
    for words, why in (([str(home)], "nothing else"), (["--token-file", "token"], "for everybody")):
        (tmp_path / "token").write_text("secret")
        (tmp_path / "token").chmod(0o600)
        code, said = refused("--repository", "open", *words, cwd=tmp_path)
        assert code == 2
        assert why in said
    code, said = refused("--repository", str(home), cwd=tmp_path)
    assert code == 2
    assert "repository" in said
    for _ in range(2):  # the second time it is in the cache
        with serving("--repository", "open", "--host", "0.0.0.0", "--port", "0", "--rate", "0.3", cwd=tmp_path) as (
            _,
            line,
        ):
            url = url_of(line).replace("0.0.0.0", "127.0.0.1")
            [study] = get(f"{url}api/studies")["studies"]
            assert get(f"{url}api/repository")["license"] == "CC0-1.0"
            assert get(f"{url}data/repository.json")["studies"][0]["id"] == study["name"]
            with pytest.raises(urllib.error.HTTPError, match="429"):
                get(f"{url}api/studies")  # 0.3 a second, and three at once
