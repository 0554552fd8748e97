"""What happens to jobs, told as monitord tells it: cases that no captured run has."""

from __future__ import annotations

from itertools import chain

from panorama_driver.sources.dagman import Reader
from panorama_driver.sources.monitord import Monitord, Output
from panorama_driver.sources.plan import Braindump, Dag, SubmitFile
from panorama_driver.sources.userlog import Reader as UserLog

NOOP_NODES = b"""\
11/22/26 23:32:19 Submitting HTCondor Node chmod_a_0 job(s)...
11/22/26 23:32:19 \tassigned HTCondor ID (0.2147483647.2)
11/22/26 23:32:19 Submitting HTCondor Node chmod_b_0 job(s)...
11/22/26 23:32:19 \tassigned HTCondor ID (0.2147483647.3)
11/22/26 23:32:19 Event: ULOG_SUBMIT for HTCondor Node chmod_a_0 (0.2147483647.2) {11/22/26 23:32:19}
11/22/26 23:32:19 Event: ULOG_JOB_TERMINATED for HTCondor Node chmod_a_0 (0.2147483647.2) {11/22/26 23:32:19}
11/22/26 23:32:19 Node chmod_a_0 job proc (0.2147483647.2) completed successfully.
11/22/26 23:32:19 Event: ULOG_SUBMIT for HTCondor Node chmod_b_0 (0.2147483647.3) {11/22/26 23:32:19}
11/22/26 23:32:19 Event: ULOG_JOB_TERMINATED for HTCondor Node chmod_b_0 (0.2147483647.3) {11/22/26 23:32:19}
11/22/26 23:32:19 Node chmod_b_0 job proc (0.2147483647.3) completed successfully.
"""
"""As DAGMan 23.9 wrote it of a plan for a shared file system, whose jobs that set execute bits are NOOP nodes."""

THEIR_LOG = b"""\
000 (000.2147483647.002) 2026-11-22 23:32:19 Job submitted from host: <dummy-submit-for-noop-job>
    DAG Node: chmod_a_0
...
005 (000.2147483647.002) 2026-11-22 23:32:19 Job terminated.
\t(1) Normal termination (return value 0)
...
"""


def monitord() -> Monitord:
    plan = Braindump(wf_uuid="w", dag="w-0.dag")
    return Monitord(plan, Dag(), lambda _: SubmitFile(), lambda _: Output())


def test_noop_nodes_that_were_submitted_together_are_told_apart_though_dagman_gives_them_one_id() -> None:
    told = monitord()
    happenings = chain.from_iterable(map(Reader().read, NOOP_NODES.splitlines()))
    ends = [
        raw for happening in happenings for raw in told.tell(happening) if raw["event"].endswith("job_inst.main.end")
    ]
    assert [(raw["job_id"], raw["job_inst_id"], raw["exitcode"]) for raw in ends] == [
        ("chmod_a_0", 1, "0"),
        ("chmod_b_0", 2, "0"),
    ]


def test_the_jobs_own_log_gives_no_hint_of_a_noop_node_as_it_does_not_tell_which_one_has_ended() -> None:
    told = monitord()
    for happening in chain.from_iterable(map(Reader().read, NOOP_NODES.splitlines()[:4])):
        assert not list(told.tell(happening))
    early = chain.from_iterable(map(UserLog().read, THEIR_LOG.splitlines()))
    assert [told.hint(happening) for happening in early] == [(True, []), (True, [])]
