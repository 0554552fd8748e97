"""Attempts and hosts beside their history: hand-computed scores, effects told apart, and what is healthy left alone."""

from __future__ import annotations

import math
import random

import msgspec
import pytest

from panorama_driver.analysis import Anomaly
from panorama_driver.analysis.jobs import FEATURES, Analysis, History, Sample, analyse, anomalies

RESOLUTION = {feature.name: feature.resolution for feature in FEATURES}


def sample(run: str, job: str, host: str, transformation: str = "md", **values: float) -> Sample:
    return Sample(
        run=run,
        job_id=job,
        transformation=transformation,
        host=host,
        work=job,
        values=values,
        start=100.0,
        end=100.0 + values.get("wall_time", 1.0),
    )


def nowhere(one: Sample) -> Sample:
    return msgspec.structs.replace(one, host=None)


def healthy(
    runs: int, jobs: int, hosts: int, seed: int, noise: float = 0.1, slow: dict[str, float] | None = None
) -> list[Sample]:
    """Each job with its own time, on a host by chance, with lognormal noise."""
    chance = random.Random(seed)
    made = []
    for run in range(runs):
        for job in range(jobs):
            host = f"h{chance.randrange(hosts)}"
            times = (slow or {}).get(host, 1.0) * math.exp(chance.gauss(0, noise))
            wall = (50 + 20 * job) * times
            cpu = 0.9 * (50 + 20 * job) * math.exp(chance.gauss(0, noise))
            made.append(
                sample(
                    f"r{run}",
                    f"j{job}",
                    host,
                    f"t{job % 4}",
                    wall_time=wall,
                    cpu_time=cpu,
                    cpu_utilization=cpu / wall,
                    peak_memory=2e8 * math.exp(chance.gauss(0, noise)),
                    bytes_written=1e8 * math.exp(chance.gauss(0, noise)),
                    queue_time=30 * math.exp(chance.gauss(0, 0.3)),
                )
            )
    return made


def kinds(found: list[Anomaly]) -> list[str]:
    return sorted({each.kind for each in found})


# --- scores ----------------------------------------------------------------------------------------------------------


def test_a_score_as_computed_by_hand() -> None:
    # ln(wall + 0.5) is ln 10 + {-0.2, -0.1, 0, 0.1, 0.2} twice over: median ln 10, and the median of the ten absolute
    # deviations (two 0, four 0.1, four 0.2) is 0.1. Of ten degrees of freedom the median took one, so that the scale
    # is 0.14826 * sqrt(10 / 9) = 0.15628. Hosts are left unknown, so that they take none.
    steps = [-0.2, -0.1, 0.0, 0.1, 0.2]
    walls = [10 * math.exp(step) - 0.5 for step in steps + steps]
    history = [nowhere(sample("r", f"j{n}", "", wall_time=wall)) for n, wall in enumerate(walls)]
    probe = sample("new", "x", "elsewhere", wall_time=19.5)
    (job,) = History(history).score([probe]).jobs
    (deviation,) = job.own
    assert deviation.expected == pytest.approx(9.5, rel=1e-3)
    assert deviation.times == pytest.approx(2.0, rel=1e-3)
    assert deviation.z == pytest.approx(math.log(2) / 0.15628, rel=2e-3)
    assert deviation.number == 10
    # Of fewer than 50, the surprise is that of the normal tail: ln of 4.6e-6 at 4.435.
    assert deviation.surprise == pytest.approx(-math.log(0.5 * math.erfc(deviation.z / math.sqrt(2))), rel=1e-6)


def test_a_host_in_a_run_as_computed_by_hand() -> None:
    # All attempts of the history are alike, so that the scale is its floor, 0.05 * sqrt(20 / 19) = 0.051299 for the
    # degree of freedom that the median took, the middle 0, and the variance between hosts its least, 0.02. Four
    # attempts that take exp(0.1) times as long have z = 1.94936 each, and together 1.94936 / sqrt(1/4 + 0.02).
    history = [nowhere(sample("r", f"j{n}", "", wall_time=99.5)) for n in range(20)]
    longer = 100 * math.exp(0.1) - 0.5
    seen = History(history).score([sample("new", f"j{n}", "h0", wall_time=longer) for n in range(4)])
    (host,) = seen.hosts_in_runs
    assert host.deviations[0].z == pytest.approx(1.94936 / math.sqrt(0.27), rel=1e-5)
    assert host.deviations[0].times == pytest.approx(math.exp(0.1))
    assert host.attempts == host.deviations[0].number == 4
    assert kinds(anomalies(seen)) == ["slow_host"]


def test_below_ten_it_is_unknown_and_says_why() -> None:
    history = [sample("r", f"j{n}", "h", wall_time=10.0) for n in range(9)]
    (job,) = History(history).score([sample("new", "x", "h", wall_time=1000.0)]).jobs
    assert job.score is None
    assert job.reason == "9 of 10 attempts of md that must have succeeded before"
    warm = [*history, sample("r", "j9", "h", wall_time=10.0)]
    assert History(warm).score([sample("new", "x", "h", wall_time=1000.0)]).jobs[0].score is not None


def test_failed_attempts_are_scored_and_not_learnt_from() -> None:
    good = [sample("r", f"j{n}", "h", wall_time=10.0) for n in range(10)]
    failed = [msgspec.structs.replace(sample("r", f"f{n}", "h", wall_time=0.1), state="failed") for n in range(30)]
    seen = analyse([*good, *failed])
    assert seen.jobs[0].own[0].expected == pytest.approx(10.0, rel=0.01)
    assert seen.jobs[-1].own[0].z < -4


def test_a_running_attempt_is_only_ever_longer() -> None:
    history = History([sample("r", f"j{n}", f"h{n}", wall_time=10.0) for n in range(10)])
    young = msgspec.structs.replace(sample("new", "x", "h", wall_time=1.0), state="running", end=None)
    assert history.score([young]).jobs[0].own[0].z == 0
    old = msgspec.structs.replace(young, values={"wall_time": 100.0})
    (told,) = anomalies(history.score([old]))
    assert (told.kind, told.since, told.found) == ("slow_job", 100.0, 200.0)


def test_so_far_knows_only_what_had_ended() -> None:
    history = History(healthy(5, 20, 3, seed=1))
    run = [
        msgspec.structs.replace(each, end=float(n), values=each.values | {"wall_time": 2 * each.values["wall_time"]})
        for n, each in enumerate(healthy(1, 12, 1, seed=2))
    ]
    whole = history.score(run).jobs
    so_far = history.score(run, "so_far").jobs
    first = history.score(run[:1]).jobs[0]
    assert so_far[0].score == first.score
    assert so_far[-1].score == whole[-1].score
    assert so_far[0].on_host[0].number == 1


# --- hosts and inputs ------------------------------------------------------------------------------------------------


def lopsided(exponent: float, host: float, seed: int) -> list[Sample]:
    """Times that grow with the input; nine in ten large inputs are on the host `b`, nine in ten small ones on `a`."""
    chance = random.Random(seed)
    made = []
    for number in range(400):
        size = math.exp(chance.uniform(0, 4))
        large = size > math.exp(2)
        where = "b" if large == (chance.random() < 0.9) else "a"
        wall = 100 * size**exponent * (host if where == "b" else 1.0) * math.exp(chance.gauss(0, 0.1))
        one = sample(f"r{number % 10}", f"j{number}", where, f"t{number % 5}", wall_time=wall)
        made.append(msgspec.structs.replace(one, inputs={"bytes": size * 1e6}, work=f"w{number % 40}"))
    return made


@pytest.mark.parametrize("seed", range(3))
def test_a_host_that_got_the_large_inputs_is_not_slow(seed: int) -> None:
    seen = analyse(lopsided(1.0, 1.0, seed))
    assert not any(each.slow for each in seen.hosts)
    assert max(each.times for each in seen.hosts) / min(each.times for each in seen.hosts) < 1.1


@pytest.mark.parametrize("seed", range(3))
def test_a_host_of_half_the_speed_is_found_behind_lopsided_inputs(seed: int) -> None:
    seen = analyse(lopsided(1.0, 2.0, seed))
    effects = {each.host: each for each in seen.hosts}
    assert effects["b"].times / effects["a"].times == pytest.approx(2.0, rel=0.1)
    by_hand = [each.values["wall_time"] for each in lopsided(1.0, 2.0, seed) if each.host == "b"]
    others = [each.values["wall_time"] for each in lopsided(1.0, 2.0, seed) if each.host == "a"]
    assert sum(by_hand) / len(by_hand) > 5 * sum(others) / len(others)  # what a plain comparison would say


def test_a_slow_host_is_told_once_with_its_interval() -> None:
    attempts = healthy(10, 24, 6, seed=3, slow={"h2": 1.5})
    seen = analyse(attempts)
    slow = seen.hosts[0]
    assert slow.host == "h2"
    assert slow.slow
    assert slow.low is not None
    assert slow.high is not None
    assert slow.low < 1.5 < slow.high or slow.times == pytest.approx(1.5, rel=0.05)
    told = [each for each in anomalies(seen) if each.kind == "slow_host"]
    assert [each.host for each in told] == ["h2"]
    assert not [each for each in anomalies(seen) if each.kind == "slow_job"]  # the host explains them


def test_one_kind_of_job_does_not_make_a_host_slow() -> None:
    attempts = [
        msgspec.structs.replace(each, values=each.values | {"wall_time": 3 * each.values["wall_time"]})
        if each.host == "h2" and each.transformation == "t1"
        else each
        for each in healthy(10, 24, 6, seed=4)
    ]
    assert not any(each.slow for each in analyse(attempts).hosts)


def test_of_one_kind_of_work_no_interval_is_known() -> None:
    attempts = [sample(f"r{n}", "j", "h", wall_time=10.0 + n) for n in range(12)]
    (host,) = analyse(attempts).hosts
    assert (host.low, host.high, host.slow) == (None, None, False)
    assert host.reason == "only one kind of work ran there: md j"


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"peak_memory": 2e9}, "leaking"),
        ({"bytes_written": 5e9}, "runaway_output"),
        ({"queue_time": 3000.0}, "idle_in_queue"),
        ({"wall_time": 1000.0, "cpu_utilization": 0.045}, "throttled"),
        ({"wall_time": 1000.0, "cpu_time": 900.0, "cpu_utilization": 0.9}, "slow_job"),
    ],
)
def test_each_kind_of_anomaly_is_told_of_its_attempt(changed: dict[str, float], kind: str) -> None:
    attempts = healthy(12, 16, 4, seed=5)
    place = next(n for n, each in enumerate(attempts) if each.run == "r7" and each.job_id == "j0")
    attempts[place] = msgspec.structs.replace(attempts[place], values=attempts[place].values | changed)
    told = [each for each in anomalies(analyse(attempts)) if (each.wf_uuid, each.job_id) == ("r7", "j0")]
    assert [each.kind for each in told] == [kind]
    (metric,) = {each.metric for each in told[0].evidence[:1]}
    assert metric in changed
    assert told[0].evidence[0].observed == changed[metric]
    assert told[0].confidence > 0.9


@pytest.mark.parametrize(
    ("metric", "times", "kind"),
    [("wall_time", 1.6, "slow_host"), ("stage_time", 6.0, "slow_disk"), ("cpu_time", 0.6, "throttled")],
)
def test_a_host_that_is_disturbed_in_one_run_is_told_with_the_cause(metric: str, times: float, kind: str) -> None:
    chance = random.Random(6)
    attempts = []
    for each in healthy(12, 16, 3, seed=6):
        values = each.values | {"stage_time": 10 * math.exp(chance.gauss(0, 0.1))}
        if each.run == "r5" and each.host == "h1":
            values[metric] *= times
        attempts.append(msgspec.structs.replace(each, values=values))
    told = anomalies(analyse(attempts))
    assert [(each.kind, each.wf_uuid, each.host) for each in told if each.job_id is None] == [(kind, "r5", "h1")]


def test_of_healthy_runs_little_is_told() -> None:
    # 10 data sets of 300 attempts and 60 hosts in runs each. The bound is 1 in 300 attempts and 1 in 100 hosts.
    found = [anomalies(analyse(healthy(15, 20, 4, seed=seed))) for seed in range(10)]
    assert sum(each.job_id is not None for several in found for each in several) <= 10
    assert sum(each.job_id is None for several in found for each in several) <= 6
    assert not any(host.slow for seed in range(10) for host in analyse(healthy(15, 20, 4, seed=seed)).hosts)


def test_the_same_attempts_give_the_same_analysis() -> None:
    attempts = healthy(5, 12, 3, seed=8)
    assert analyse(attempts) == analyse(attempts)


def test_nothing_gives_nothing() -> None:
    assert analyse([]) == Analysis(jobs=(), hosts_in_runs=(), hosts=())
    assert anomalies(analyse([])) == []
