"""`panorama doctor`: what each check makes of what real programs have said, and the whole on made-up machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from panorama_driver.engines.pegasus import checks, machine
from panorama_driver.engines.pegasus.checks import Check, Needs, Ran
from panorama_driver.engines.pegasus.service import Settings
from panorama_driver.errors import ManagerError
from tests.conftest import PARABOLA
from tests.released import ROOT, Released

MakeStudy = Callable[..., Path]

_JAVA_21 = """openjdk version "21.0.13.1" 2026-11-17
OpenJDK Runtime Environment (build 21.0.13.1+2-1-deb13u1-Debian)
"""
_CONDOR = "$CondorVersion: 23.9.6 2026-07-12 PackageID: 23.9.6+dfsg-2.1+b10 $\n$CondorPlatform: X86_64-Debian_13 $\n"
_NO_SCHEDD = """Error: (null)

Extra Info: You probably saw this error because the condor_schedd is not
running on the machine you are trying to query.
"""
_SLOT = """[
{
  "Name": "slot1@vm.local",
  "TotalSlotCpus": 4,
  "TotalSlotDisk": 70926648.0,
  "TotalSlotMemory": 16000
}
]
"""
_HELD = r"""[
{
  "ClusterId": 50,
  "HoldReason": "submission command failed (exit code = 1) (stdout:) (stderr:sbatch: error: invalid partition specified: nosuch-sbatch: error: Batch job submission failed: Invalid partition name specified-Error from sbatch: )",
  "PeriodicRemove": "\/Expr((JobStatus == 5) && ((CurrentTime - EnteredCurrentStatus) > 1800))\/",
  "ProcId": 0
}
]
"""  # noqa: E501 - as condor_q -json wrote it
# as Debian ships it, its remark on what is to be done included
_BLAH_OF_DEBIAN = "        # TODO: readfp() is replaced by read_file() in Python 3.2+\n        self.readfp(vfile)\n"
_CHROOT = "43 42 0:39 / /proc rw,relatime - proc proc rw\n44 42 0:22 / /sys rw,relatime - sysfs sysfs rw\n"
_WITH_ROOT = "42 27 254:0 /srv/chroot / rw,relatime - ext4 /dev/vda rw\n" + _CHROOT


def said(text: str, code: int | None = 0) -> Ran:
    return Ran(code, text)


def test_the_planner_is_new_enough_and_a_panorama_build_is_named() -> None:
    assert checks.planner("/p", said("5.1.3\n")).found == "5.1.3, /p"
    assert checks.planner("/p", said("5.0.8\n")).problem == "5.0.8 is older than 5.1"
    built = checks.planner("/p", said("5.1.0panorama\n"))
    assert built.ok
    assert "a panorama build" in built.found
    assert checks.planner("/p", said("ERROR: java not found", 1)).problem == "exit code 1: ERROR: java not found"
    assert checks.planner("/p", said("", None)).problem == "no answer in time"


def test_a_worker_package_of_another_version_is_no_use() -> None:
    assert checks.worker_package(said("5.1.3\n"), said("5.1.3\n")).ok
    assert "the planner is 5.1.3" in checks.worker_package(said("5.1.3"), said("5.0.8")).problem


@pytest.mark.parametrize(
    ("text", "good"),
    [(_JAVA_21, True), ('java version "1.8.0_292"', True), ('java version "1.7.0_80"', False), ("what?", False)],
)
def test_java_is_new_enough(text: str, good: bool) -> None:
    assert checks.java(said(text)).ok is good


def test_no_java_is_missing() -> None:
    assert checks.java(None).found == ""


def test_a_scheduler_that_does_not_answer_is_told_in_condors_words() -> None:
    assert checks.scheduler("/c", said(_CONDOR), said("Total for query: 0 jobs")).found == "23.9.6, /c"
    silent = checks.scheduler("/c", said(_CONDOR), said(_NO_SCHEDD, 1))
    assert (silent.found, silent.problem) == ("", "exit code 1: Error: (null)")
    assert checks.scheduler(None, None, None).found == ""


@pytest.mark.parametrize(
    ("needs", "good"),
    [
        (Needs(), True),
        (Needs(cores=4, memory=16000, disk=69264), True),
        (Needs(cores=5), False),
        (Needs(memory=16001), False),
        (Needs(disk=69265), False),
    ],
)
def test_a_slot_holds_the_largest_job(needs: Needs, good: bool) -> None:
    check = checks.slots(said(_SLOT), needs)
    assert check.ok is good
    assert good or f"{needs.memory} MB of memory and {needs.disk} MB of disk: it would wait for ever" in check.problem


def test_no_one_slot_need_be_the_largest_in_all() -> None:
    wide = '[{"TotalSlotCpus": 64, "TotalSlotMemory": 100, "TotalSlotDisk": 9e9}'
    large = '{"TotalSlotCpus": 1, "TotalSlotMemory": 9000, "TotalSlotDisk": 9e9}]'
    assert checks.slots(said(f"{wide},\n{large}"), Needs()).ok
    assert not checks.slots(said(f"{wide},\n{large}"), Needs(cores=2)).ok


def test_an_empty_pool_and_a_collector_away_are_told_apart() -> None:
    assert checks.slots(said(""), Needs()).problem == "the pool has no slot"
    away = checks.slots(said("Error: communication error\nCEDAR:6001:Failed to connect to <127.0.0.1:1>\n", 1), Needs())
    assert away.problem == "condor_status: exit code 1: Error: communication error"
    assert "nothing usable" in checks.slots(said("so what"), Needs()).problem


def test_held_jobs_are_told_with_reason_and_how_long_they_wait() -> None:
    assert checks.held(said("")) is None
    check = checks.held(said(_HELD))
    assert check is not None
    assert check.problem.startswith("50.0: submission command failed")
    assert "invalid partition specified: nosuch" in check.problem
    assert "waits for it 1800 s" in check.problem
    soon = checks.held(said(_HELD.replace("1800", "120")))
    assert soon is not None
    assert "waits for it" not in soon.problem
    never = checks.held(said('[{"ClusterId": 1, "ProcId": 0, "HoldReason": "x", "PeriodicRemove": false}]'))
    assert never is not None
    assert "for ever" in never.problem


def test_mounts_under_scratch_matter_in_a_chroot_only() -> None:
    assert checks.sandbox(said("/tmp,/var/tmp\n"), _WITH_ROOT) is None
    assert checks.sandbox(said("Not defined: MOUNT_UNDER_SCRATCH", 1), _CHROOT) is None
    check = checks.sandbox(said("/tmp,/var/tmp\n"), _CHROOT)
    assert check is not None
    assert "errno=22" in check.problem


def test_the_probes_python_is_that_of_a_jobs_path() -> None:
    assert checks.worker_python("/usr/bin/python3", said("Python 3.13.5\n")).found == "Python 3.13.5, /usr/bin/python3"
    assert checks.worker_python("/usr/bin/python3", said("Python 3.5.2\n")).problem == "Python 3.5.2 is older than 3.6"
    assert checks.worker_python(None, None).found == ""


def test_variables_that_break_pegasus_are_named(tmp_path: Path) -> None:
    assert checks.environment({"HOME": str(tmp_path)}, tmp_path) == []
    assert checks.environment({}, tmp_path) == []
    found = checks.environment({"HOME": "/elsewhere", "KICKSTART_MON_ENDPOINT_URL": ""}, tmp_path)
    assert [check.name for check in found] == ["KICKSTART_MON_ENDPOINT_URL", "HOME"]
    assert not any(check.ok for check in found)


def test_a_study_under_tmp_is_told_though_reached_by_another_name() -> None:
    assert checks.place(Path("/home/me/study")) is None
    assert checks.place(Path("/tmpfiles/study")) is None
    for name in ("/tmp/study", "/usr/../tmp/study"):
        check = checks.place(Path(name))
        assert check is not None
        assert "DAGMan refuses" in check.problem


def settings(**changed: object) -> Settings:
    plain: dict[str, object] = {
        "path": Path("/home/me/.pegasus/service.py"),
        "private": True,
        "user": "me",
        "password": "x",
        "interval": 5.0,
        "authentication": "PAMAuthentication",
    }
    return Settings(**(plain | changed))  # type: ignore[arg-type] # names and kinds as above


def test_a_manager_that_asks_nobody_for_a_password_is_a_problem() -> None:
    assert checks.password(settings(), anybody=False) == []
    assert checks.password(None, anybody=False) == []
    for open_to_all in (
        checks.password(settings(authentication="NoAuthentication"), anybody=False),
        checks.password(None, anybody=True),
    ):
        assert "can run commands as you" in open_to_all[0].problem
    [readable] = checks.password(settings(private=False), anybody=False)
    assert readable.mend == "chmod 600 ~/.pegasus/service.py"


def test_a_manager_that_looks_once_a_minute_is_slow() -> None:
    assert checks.polling(settings(), 60.0).ok
    assert "waits up to 60 s" in checks.polling(None, 60.0).problem


def test_a_manager_is_missing_or_says_why_it_is_of_no_use() -> None:
    away = checks.manager("http://h", ManagerError("nobody", transient=True))
    assert (away.found, away.mend) == ("", "panorama ensemble up")
    refuses = checks.manager("http://h", ManagerError("refuses user 'me'", status=401))
    assert (refuses.ok, refuses.problem) == (False, "refuses user 'me'")
    assert checks.manager("http://h", []).ok


def test_root_may_not() -> None:
    assert checks.account(1000) is None
    assert checks.account(0) is not None


def test_no_accounting_means_lost_exit_codes() -> None:
    assert checks.accounting("/usr/bin/sacct", said("")).ok
    off = checks.accounting("/usr/bin/sacct", said("Slurm accounting storage is disabled\n", 1))
    assert off.problem == (
        "exit code 1: Slurm accounting storage is disabled; HTCondor takes every job of Slurm for exit code 0"
    )
    assert checks.accounting(None, None).found == ""


@pytest.mark.parametrize(
    ("text", "python", "good"),
    [
        (_BLAH_OF_DEBIAN, "Python 3.13.5", False),
        (_BLAH_OF_DEBIAN, "Python 3.11.2", True),
        (_BLAH_OF_DEBIAN.replace("self.readfp(", "self.read_file("), "Python 3.13.5", True),
    ],
)
def test_blahps_status_script_is_broken_under_new_pythons(text: str, python: str, good: bool, tmp_path: Path) -> None:
    check = checks.status_script(tmp_path / "blah.py", text, said(python))
    assert check.ok is good
    if not good:
        (tmp_path / "blah.py").write_text(text)
        subprocess.run(check.mend, shell=True, check=True)
        assert checks.status_script(tmp_path / "blah.py", (tmp_path / "blah.py").read_text(), said(python)).ok


def test_minutes_between_looks_at_the_batch_system_are_told() -> None:
    assert checks.probing(said("5\n")).ok
    assert checks.probing(said("60\n")).problem == "the end of each job is seen up to 60 s late"
    assert "60 s" in checks.probing(said("Not defined: GRIDMANAGER_JOB_PROBE_INTERVAL", 1)).found


def test_the_cache_of_blahp_is_told_and_its_mend_mends(tmp_path: Path) -> None:
    script = tmp_path / "slurm_status.py"
    script.write_text("cache_timeout = 60\n")
    check = checks.status_cache(script, script.read_text())
    assert check is not None
    assert "up to 60 s late" in check.problem
    subprocess.run(check.mend, shell=True, check=True)
    mended = checks.status_cache(script, script.read_text())
    assert mended is not None
    assert mended.ok
    assert checks.status_cache(script, "nothing of the kind") is None


@pytest.mark.measures
def test_a_program_that_hangs_delays_nobody() -> None:
    begin = time.monotonic()
    assert machine.run(("sleep", "60"), patience=0.2) == Ran(None, "")
    took = time.monotonic() - begin
    assert took < 5, f"measured {took:.1f} s"
    assert machine.run(("no-such-program",)).code == 127


def doctor(*words: object, path: str, cwd: Path, **variables: str) -> tuple[int, str]:
    """Exit code and words of `panorama doctor` where PATH is `path`."""
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", "doctor", *map(str, words)]
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PANORAMA_ENSEMBLE_", "KICKSTART_"))
    }
    environment = {**kept, "PATH": path, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A directory that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_a_machine_without_pegasus_hears_one_line_about_it(bare: Path, tmp_path: Path) -> None:
    code, told = doctor("--json", path=str(bare), cwd=tmp_path)
    found = json.loads(told)
    [pegasus] = [check for check in found if check["purpose"] == "pegasus"]
    assert "the embedded engine (engine: local) needs neither" in pegasus["mend"]
    assert not [check for check in found if check["purpose"] == "slurm"]
    assert "MISSING  mend: install Pegasus" in doctor(path=str(bare), cwd=tmp_path)[1]
    assert code == 0


def of_pegasus(told: str) -> dict[str, Check]:
    """Checks of Pegasus and Slurm by name, from what `--json` tells."""
    return {
        one["name"]: Check(**{key: value for key, value in one.items() if key != "ok"})
        for one in json.loads(told)
        if one["purpose"] in ("pegasus", "slurm")
    }


def install_stack(folder: Path) -> None:
    """A machine with planner, pool and Slurm, as far as doctor looks; each with something wrong."""
    for name, text in {
        "pegasus-plan": "exit 0",
        "pegasus-version": "echo 5.1.3",
        "pegasus-config": "echo 5.0.8",
        "java": "echo 'openjdk version \"21.0.13.1\" 2026-11-17' >&2",
        "git": "exit 0",
        "condor_submit_dag": "exit 0",
        "condor_version": "echo '$CondorVersion: 23.9.6 2026-07-12 $'",
        "condor_q": f"case $1 in -totals) echo Total;; *) /bin/cat <<'E'\n{_HELD}E\n;; esac",
        "condor_status": f"/bin/cat <<'E'\n{_SLOT.replace('16000', '800')}E",
        "condor_config_val": "echo Not defined: $1 >&2; exit 1",
        "sbatch": "exit 0",
        "sacct": "echo Slurm accounting storage is disabled >&2; exit 1",
    }.items():
        program(folder, name, text)


def test_everything_that_is_wrong_with_a_machine_is_told_with_its_mend(
    bare: Path, tmp_path: Path, make_study: MakeStudy
) -> None:
    install_stack(bare)
    study = make_study(
        engine="pegasus", site="condorpool", ensemble="{url: 'http://127.0.0.1:1'}", monitoring="{interval: 1 s}"
    )
    _, told = doctor(study, "--json", path=str(bare), cwd=tmp_path, KICKSTART_MON_ENDPOINT_URL="http://x")
    wrong = {name: check.problem for name, check in of_pegasus(told).items() if not check.ok}
    assert "the planner is 5.1.3" in wrong["pegasus-config"]
    assert "800 MB of memory" in wrong["slots"]
    assert "invalid partition" in wrong["held jobs"]
    assert "no manager answers at http://127.0.0.1:1" in wrong["Ensemble Manager"]
    assert "HTCondor takes every job" in wrong["sacct"]
    assert "up to 60 s late" in wrong["gridmanager's polling"]
    assert "pegasus-transfer" in wrong["KICKSTART_MON_ENDPOINT_URL"]
    assert ("study directory" in wrong) is study.is_relative_to("/tmp")
    lacking = [check for check in json.loads(told) if not check["ok"]]
    assert all(check["mend"] for check in lacking)
    code, text = doctor(study, path=str(bare), cwd=tmp_path, KICKSTART_MON_ENDPOINT_URL="http://x")
    assert text.count("mend: ") == len(lacking)
    assert code == 3


@pytest.mark.measures
def test_a_program_that_never_answers_is_said_and_the_rest_is_told(bare: Path, tmp_path: Path) -> None:
    install_stack(bare)
    program(bare, "condor_q", "exec /bin/sleep 60")
    begin = time.monotonic()
    _, told = doctor("--json", path=str(bare), cwd=tmp_path)
    took = time.monotonic() - begin
    assert took < 40, f"measured {took:.1f} s"
    found = of_pegasus(told)
    assert found["HTCondor"].problem == "no answer in time"
    assert found["planner"].ok


def test_a_study_of_the_embedded_engine_needs_no_pegasus(bare: Path, tmp_path: Path, make_study: MakeStudy) -> None:
    install_stack(bare)
    code, told = doctor(make_study(), "--json", path=str(bare), cwd=tmp_path)
    assert "study directory" not in of_pegasus(told)
    assert code == 0


def test_a_study_that_cannot_be_read_is_a_check_of_its_own(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yml").write_text(f"workflow: {PARABOLA}\nengine: warp\n")
    _, told = doctor("--json", path=str(bare), cwd=tmp_path)
    [broken] = [check for check in json.loads(told) if check["purpose"] == "study"]
    assert "engine" in broken["problem"]


def test_a_manager_that_runs_well_is_found_well(tmp_path: Path) -> None:
    user = Released(tmp_path)
    install_stack(user.bin)
    try:
        assert user.panorama("ensemble", "up", "--interval", "1 s").returncode == 0
        found = of_pegasus(user.panorama("doctor", "--json").stdout)
        for name in ("Ensemble Manager", "manager's polling", "manager's database"):
            assert found[name].ok, found[name]
        assert "manager's password" not in found
    finally:
        user.panorama("ensemble", "down")


def test_a_script_that_starts_programs_of_the_site_is_had_only_with_them(tmp_path: Path) -> None:
    from panorama_driver.cli.doctor import _had
    from panorama_driver.render import find_site
    from panorama_driver.render.workflow import Candidate, Transformation

    here = find_site("local", Path())
    candidates = [
        Candidate(program="no-such-program"),
        Candidate(script="bin/a.py", packages=["no_such_package"], needs=["sh", "no-such-tool"]),
    ]
    check = _had(here, "w", "t", Transformation(candidates))
    assert not check.ok
    assert "no-such-program: not on PATH" in check.mend
    assert "bin/a.py: lacks Python packages no_such_package; needs no-such-tool, not on PATH" in check.mend
    had = _had(here, "w", "t", Transformation([*candidates, Candidate(script="bin/b.py", needs=["sh"])]))
    assert (had.ok, had.found) == (True, "our own, with sh")
