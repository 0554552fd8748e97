"""The stand-in for pegasus-plan: from an abstract workflow to a submit directory that the stand-in DAGMan runs.

What it writes has the names, keys and arguments of what Pegasus 5.1.3 writes for sharedfs and condorio; it knows no
clustering, data reuse, containers, registration, integrity checks or hierarchical workflows.
"""

from __future__ import annotations

import getopt
import getpass
import random
import shutil
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from . import catalogs
from .catalogs import Catalog, PlanError
from .executable import Executable
from .settings import load, root
from .submitdir import VERSION, SubmitDirectory

_SHORT = "vqVhc:C:D:I:O:b:fj:no:r:s:t:d:"
_LONG = [
    "conf=", "dir=", "relative-dir=", "relative-submit-dir=", "random-dir", "sites=", "output-sites=", "output-site=",
    "output-dir=", "input-dir=", "cleanup=", "cluster=", "force", "force-replan", "forward=", "inherited-rc-files=",
    "cache=", "basename=", "job-prefix=", "json", "monitord=", "nocleanup", "reuse=", "staging-site=", "submit",
    "transformations-dir=", "vogroup=", "verbose", "quiet", "version", "help", "basedir=",
]  # fmt: skip


class Request:
    """The command line and the properties.

    Parameters
    ----------
    words : list of str
        The command line.

    Raises
    ------
    PlanError
        It is not one of the planner's.
    """

    def __init__(self, words: list[str]) -> None:
        self.words = words
        own = [word for word in words if not word.startswith("-D")]
        given = [word[2:].partition("=") for word in words if word.startswith("-D")]
        try:
            options, rest = getopt.gnu_getopt(own, _SHORT, _LONG)
        except getopt.GetoptError as problem:
            raise PlanError(f"java.lang.RuntimeException: Incorrect option or option usage: {problem}") from None
        self._options = {key.lstrip("-"): value for key, value in options}
        self.here = Path.cwd()
        self.workflow = self.here / (rest[0] if rest else "workflow.yml")
        self.properties = self._read_properties() | {key: value for key, _, value in given}

    def option(self, *names: str, default: str = "") -> str:
        """The value of an option, by its long or short name."""
        return next((self._options[name] for name in names if name in self._options), default)

    def _read_properties(self) -> dict[str, str]:
        named = self.option("conf")
        path = self.here / (named or "pegasus.properties")
        if named and not path.is_file():
            raise PlanError(f"java.lang.RuntimeException: Properties file does not exist {path}")
        lines = path.read_text().splitlines() if path.is_file() else []
        pairs = [line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#")]
        return {key.strip(): value.strip() for key, _, value in pairs}

    def file(self, kind: str, default: str) -> Path:
        """A catalog: where the property says, else by its usual name beside the workflow."""
        return self.here / self.properties.get(f"pegasus.catalog.{kind}.file", default)

    def submit_directory(self, label: str) -> tuple[Path, Path]:
        """The folder given by --dir, and the submit directory below it."""
        base = self.here / self.option("dir", "D", default=".")
        relative = self.option("relative-dir", "relative-submit-dir")
        if relative:
            return base, base / relative
        above = base / getpass.getuser() / "pegasus" / label
        number = 1 + max((int(path.name[3:]) for path in above.glob("run[0-9]*")), default=0)
        return base, above / f"run{number:04d}"


def say(words: str, kind: str = "") -> None:
    """Write a line of the planner's log; errors go to standard error."""
    now = time.time()
    stamp = time.strftime("%Y.%m.%d %H:%M:%S", time.localtime(now))
    stream = sys.stderr if "ERROR" in kind else sys.stdout
    print(f"{stamp}.{int(now % 1 * 1000):03d} {time.strftime('%Z')}: {kind:>2} {words}", file=stream, flush=True)


def _read(request: Request) -> tuple[Catalog, dict[str, Catalog], dict[str, Catalog], dict[str, list[Catalog]]]:
    """All catalogs; the planner knows the sites local and condorpool by itself, if no catalog names them."""
    path = request.file("site", "sites.yml")
    sites = catalogs.sites(path) if path.is_file() else {}
    scratch, output = request.here / "wf-scratch" / "LOCAL", request.here / "wf-output"
    sites.setdefault(
        "local",
        {"name": "local", "directories": [_directory("sharedScratch", scratch), _directory("localStorage", output)]},
    )
    sites.setdefault(
        "condorpool",
        {"name": "condorpool", "profiles": {"pegasus": {"style": "condor"}, "condor": {"universe": "vanilla"}}},
    )
    abstract = catalogs.workflow(request.workflow)
    if "transformationCatalog" in abstract:
        programs = catalogs.transformations(abstract["transformationCatalog"])
    else:
        programs = catalogs.transformations(catalogs.read(request.file("transformation", "transformations.yml")))
    replicas = catalogs.replicas(request.file("replica", "replicas.yml"))
    if replicas is None:
        say("Replica Catalog is either down or connection to it was never opened ", "[WARNING]")
    return abstract, sites, programs, replicas or {}


def _directory(kind: str, path: Path) -> Catalog:
    return {"type": kind, "path": str(path), "fileServers": [{"url": f"file://{path}", "operation": "all"}]}


def _cyclic(abstract: Catalog) -> bool:
    from graphlib import CycleError, TopologicalSorter

    graph: dict[str, list[str]] = {}
    for edge in abstract.get("jobDependencies") or []:
        for child in edge["children"]:
            graph.setdefault(child, []).append(edge["id"])
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError:
        return True
    return False


def plan(words: list[str]) -> Path:
    """Plan a workflow; gives its submit directory.

    Raises
    ------
    PlanError
        The planner would have refused.
    """
    settings = load(root())
    request = Request(words)
    abstract, sites, programs, replicas = _read(request)
    time.sleep(settings.plan_seconds)
    if settings.plan_error:
        raise PlanError(settings.plan_error, 2)
    if _cyclic(abstract):
        raise PlanError("java.lang.RuntimeException: Abstract Workflow has cycles")
    execution = request.option("sites", "s", default="local").split(",")[0]
    if execution not in sites:
        raise PlanError(
            f"java.lang.RuntimeException: Execution site {execution} not loaded into site store. "
            f"Loaded sites are [{', '.join(sorted(sites))}]"
        )
    base, directory = request.submit_directory(abstract["name"])
    executable = Executable(
        abstract,
        sites,
        programs,
        replicas,
        request.properties,
        execution,
        request.option("output-sites", "output-site", "o", default="local"),
        base,
        directory,
        cleanup=request.option("cleanup", default="inplace") != "none",
    )
    if shutil.which("condor_submit_dag") is None:
        raise PlanError("java.lang.RuntimeException: Unable to generate code: Unable to find path to condor_submit_dag")
    directory.mkdir(parents=True, exist_ok=True)
    identity = str(uuid.uuid4())
    written = SubmitDirectory(executable, root(), identity)
    written.write()
    _write_rest(request, executable, identity, written.stamp)
    return directory


def _write_rest(request: Request, executable: Executable, identity: str, stamp: str) -> None:
    """The catalogs' copies, the properties, the workflow, and braindump.yml last."""
    directory, label = executable.directory, executable.label
    commands = root() / "bin"
    copies = directory / "catalogs"
    copies.mkdir(exist_ok=True)
    for kind in ("site", "transformation", "replica"):
        path = request.file(kind, f"{kind}s.yml")
        if path.is_file():
            shutil.copyfile(path, copies / f"{kind}s.yml")
    shutil.copyfile(request.workflow, directory / "workflow.yml")
    properties = directory / f"pegasus.{random.randrange(10**17, 10**19)}.properties"
    lines = [f"{key}={value.replace(':', chr(92) + ':')}" for key, value in request.properties.items()]
    head = [
        "#Pegasus USER PROPERTIES AT RUNTIME ",
        "#ESCAPES IN VALUES ARE INTRODUCED",
        time.strftime("#%a %b %d %H:%M:%S %Z %Y"),
    ]
    properties.write_text("\n".join([*head, *lines]) + "\n")
    plan_words = " ".join(request.words)
    values: dict[str, Any] = {
        "user": getpass.getuser(),
        "grid_dn": None,
        "submit_hostname": "localhost",
        "root_wf_uuid": identity,
        "wf_uuid": identity,
        "dax": str(request.workflow),
        "dax_label": label,
        "dax_index": "0",
        "dax_version": str(executable.abstract["pegasus"]),
        "pegasus_wf_name": f"{label}-0",
        "timestamp": stamp,
        "basedir": str(executable.base),
        "submit_dir": str(directory),
        "planner": str(commands / "pegasus-plan"),
        "planner_version": VERSION,
        "pegasus_build": "20260101000000Z",
        "planner_arguments": f'\\"{plan_words} \\"',
        "jsd": "jobstate.log",
        "rundir": directory.name,
        "bindir": str(commands),
        "vogroup": "pegasus",
        "uses_pmc": "false",
        "properties": properties.name,
        "condor_log": f"{label}-0.log",
        "dag": f"{label}-0.dag",
        "type": "dag",
        "notify": f"{label}-0.notify",
    }
    text = "\n".join(f"{key}: null" if value is None else f'{key}: "{value}"' for key, value in values.items())
    (directory / "braindump.yml").write_text(text)


def main(words: list[str]) -> int:
    """Plan, and say so in the words that the Ensemble Manager looks for."""
    began = time.time()
    if "--version" in words or "-V" in words:
        print(VERSION)
        return 0
    try:
        directory = plan(words)
    except PlanError as problem:
        say(f"\n [1] {problem}", "[FATAL ERROR]")
        return problem.code
    for line in (
        "",
        "-" * 71,
        f"File for submitting this DAG to HTCondor           : {next(directory.glob('*.condor.sub')).name}",
        "-" * 71,
    ):
        say(line)
    say(f"Database version: '{VERSION}' (sqlite:///{root() / 'home' / '.pegasus' / 'workflow.db'})")
    print(
        "\n\nI have concretized your abstract workflow. The workflow has been entered \n"
        'into the workflow database with a state of "planned". The next step is \n'
        "to start or execute your workflow. The invocation required is\n\n\n"
        f"pegasus-run  {directory}\n\n "
    )
    say(f"Time taken to execute is {time.time() - began:.3f} seconds")
    return 0
