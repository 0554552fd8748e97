"""No host, user or home path is left in what is anonymised, and what belonged together still does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver import adapt
from panorama_driver.errors import UsageError
from panorama_driver.events import Event
from panorama_driver.exchange import Source, merge, read_manifest, restore
from panorama_driver.exchange._key import Key, key_file
from panorama_driver.exchange._names import Pseudonyms
from panorama_driver.metrics import correlate
from panorama_driver.store import open_store
from panorama_driver.study.client import FOLDER
from tests.captured import told_live
from tests.conftest import PARABOLA
from tests.web.found import found

from .made import exported, odd_store, panorama, run, study_source

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'panorama-driver[parquet]'")

KEY = Key(b"nobody knows this one")
USER, HOST, HOME = "lovelace-ada", "babbage77.engines.example", "zyxw-home"


def pseudonyms(**told: Any) -> Pseudonyms:
    names = Pseudonyms(KEY)
    names.look(told)
    return names


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A real study of one evaluation, by a user, on a host and in a home that no word is like; and these names."""
    top = tmp_path_factory.mktemp("real")
    home = top / HOME / "Ada L" / "study"
    shutil.copytree(PARABOLA, top / HOME / "Ada L" / "my parabola")
    words = ["run", str(top / HOME / "Ada L" / "my parabola"), "--set", "x=0.5", "-o", str(home)]
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", *words]
    renamed = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c", f'hostname {HOST}; exec "$@"', "sh"]
    able = subprocess.run([*renamed[:-1], "true"], capture_output=True).returncode == 0
    environment = {"LOGNAME": USER, "USER": USER, "HOME": str(top / HOME / "Ada L")}
    done = run([*(renamed if able else []), *command], top, **environment)
    assert done.returncode == 0, done.stderr
    return home, [USER, HOST.partition(".")[0] if able else socket.gethostname(), HOME, "Ada L", top.name]


def everything(folder: Path) -> Iterator[str]:
    """All bytes of a repository, those that are packed as well."""
    for path in folder.rglob("*"):
        yield str(path.relative_to(folder))
        if path.is_file():
            yield path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            for row in pq.read_table(path, partitioning=None).to_pylist():
                yield from (value for value in row.values() if isinstance(value, str))


def as_word(name: str, text: str) -> bool:
    """Whether a name is in a text; a short one where it is a word."""
    at = text.find(name)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(name) : at + len(name) + 1]
        if len(name) > 4 or not (before.isalnum() or after.isalnum()):
            return True
        at = text.find(name, at + 1)
    return False


def test_no_name_of_a_real_run_is_left_in_any_byte(real_run: tuple[Path, list[str]], tmp_path: Path) -> None:
    home, names = real_run
    plain = exported(tmp_path / "plain", study_source(home))
    assert plain.pseudonyms is None
    for name in names:
        assert any(as_word(name, text) for text in everything(tmp_path / "plain")), name
    exported(tmp_path / "anonymised", study_source(home), key=KEY)
    for name in names:
        if len(name) < 5:  # a field may be called so (`vm` is memory)
            continue
        assert not [text for text in everything(tmp_path / "anonymised") if name.casefold() in text.casefold()], name
    with open_store(home / FOLDER / "store.db", readonly=True) as store:
        said = {event.fields.get("hostname") for kept in store.kept() for event in [kept.event]} - {None}
    [again] = restore(tmp_path / "anonymised", tmp_path / "restored")
    with open_store(again / FOLDER / "store.db", readonly=True) as store:
        now = {kept.event.fields.get("hostname") for kept in store.kept()} - {None}
    assert len(said) == len(now) > 0
    assert not said & now


def test_a_restored_anonymised_study_costs_what_it_cost(real_run: tuple[Path, list[str]], tmp_path: Path) -> None:
    home, _ = real_run
    exported(tmp_path / "anonymised", study_source(home), key=KEY)
    [again] = restore(tmp_path / "anonymised", tmp_path / "restored")
    shown = []
    for each in (home, again):
        answer = panorama("show", "1", "--study", each, "--json")
        assert answer.returncode == 0, answer.stderr
        metrics = json.loads(answer.stdout)["metrics"]
        jobs = metrics.pop("jobs")
        shown.append((metrics, [(job["job_id"], job["wall_time"], job["cpu_time"], job["bytes_read"]) for job in jobs]))
    assert shown[0] == shown[1]


@pytest.mark.parametrize("name", ["mini-events", "slurm-ok", "hierarchical", "reruns"])
def test_recorded_runs_of_pegasus_keep_their_structure_and_lose_their_names(name: str, tmp_path: Path) -> None:
    events = list(told_live(name, tmp_path).values())
    with open_store(tmp_path / "pegasus.db") as store:
        store.put(events)
    exported(tmp_path / "anonymised", Source("pegasus", str(tmp_path / "pegasus.db")), key=KEY)
    text = "\n".join(everything(tmp_path / "anonymised"))
    for place in ("/home/runs", "/home/slurmwork", "/m-events", "192.0.2.2"):
        assert place not in text
    [again] = restore(tmp_path / "anonymised", tmp_path / "restored")
    with open_store(tmp_path / "pegasus.db", readonly=True) as before, open_store(again, readonly=True) as after:
        assert [each.wf_uuid for each in before.workflows()] == [each.wf_uuid for each in after.workflows()]
        assert before.count() == after.count()
        for each in before.workflows():
            one, other = (correlate(list(store.events(each.wf_uuid))) for store in (before, after))
            assert (one.makespan, one.cpu_time, one.bytes_staged) == (
                other.makespan,
                other.cpu_time,
                other.bytes_staged,
            )
            assert [job.job_id for job in one.jobs] == [job.job_id for job in other.jobs]
            assert len({job.host for job in one.jobs}) == len({job.host for job in other.jobs})


def test_an_action_still_names_the_anomaly_that_it_answers(tmp_path: Path) -> None:
    home = found(tmp_path / "found")
    exported(tmp_path / "anonymised", study_source(home), key=KEY)
    [again] = restore(tmp_path / "anonymised", tmp_path / "restored")
    with open_store(again / FOLDER / "store.db", readonly=True) as store:
        known = {kept.event.event_id: kept.event for kept in store.kept() if kept.event.kind.startswith("anomalies.")}
    answered = [action for action in adapt.read(again / FOLDER) if action.anomaly in known]
    assert len(answered) == sum(each.anomaly is not None for each in adapt.read(home / FOLDER)) > 0
    for action in adapt.read(again / FOLDER):
        assert action.host is None or action.host.startswith("host-")
    avoided = next(each for each in answered if each.what == "avoid_host")
    assert known[avoided.anomaly or ""].fields["hostname"] == avoided.host


def test_the_same_name_gets_the_same_pseudonym_with_the_same_key_and_no_other(tmp_path: Path) -> None:
    told = {"hostname": "node1.example.org", "user": "ada", "path": "/proj/x/y.h5"}
    one, same = pseudonyms(**told).value(told), pseudonyms(**told).value(told)
    other = Pseudonyms(Key(b"nobody knows that one")).value(told)
    assert one == same
    assert not set(one.values()) & set(other.values())
    for key, name in ((KEY, "a"), (KEY, "b"), (Key(b"nobody knows that one"), "c")):
        exported(tmp_path / name, odd_store(tmp_path / f"{name}.db"), key=key)
    assert read_manifest(tmp_path / "a").pseudonyms == read_manifest(tmp_path / "b").pseudonyms
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    with pytest.raises(UsageError, match="the same key"):
        merge([tmp_path / "a", tmp_path / "c"], tmp_path / "all")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("ran on node7 for ada", "ran on {h:node7} for {u:ada}"),
        ("node70 and NODE7: node7", "node70 and {h:node7}: {h:node7}"),
        ("canada ada_x (ada)", "canada {u:ada}_x ({u:ada})"),
        ("/home/ada/run0001/out.h5", "/home/{u:ada}/run0001/out.h5"),
        ("/home/grace/a", "/home/{u:grace}/{p:a}"),
        ("cd /usr/bin; ls /usr/local/zap/bin", "cd /usr/bin; ls /usr/local/{p:zap}/bin"),
        ("--in=/proj/zap/file.dat,x", "--in=/{p:proj}/{p:zap}/{p:file.dat}.dat,x"),
        ("gsiftp://ada@dtn.example.org:2811/data/zap", "gsiftp://{u:ada}@{h:dtn}.{n:example.org}:2811/data/{p:zap}"),
        ("mail to ada@example.org.", "mail to {u:ada}@{h:example}.{n:org}."),
        ("slot1_2@node7", "slot1_2@{h:node7}"),
        ("10.1.2.3 and 127.0.0.1 and 1.2.3", "{h:10.1.2.3} and 127.0.0.1 and 1.2.3"),
        ("at 11:39:37 on 2026-11-22", "at 11:39:37 on 2026-11-22"),
        ("fe80::1:2:3:4:5 a::b demo::cc:1.0", "{h:fe80::1:2:3:4:5} a::b demo::cc:1.0"),
        ("line%0Anode7%0A/home/ada/x y", "line%0A{h:node7}%0A/home/{u:ada}/{p:x} y"),
        ("in /data/My Files/here/z.txt", "in /data/{p:My Files}/{p:here}/z.txt"),
    ],
)
def test_names_are_found_in_texts_and_words_are_left(text: str, left: str) -> None:
    names = pseudonyms(
        hostname="node7", user="ada", work_dir="/data/My Files/here", lfn_id="out.h5", argv="/home/grace/a", lfn="z.txt"
    )
    sorts = {"h": "host", "u": "user", "p": "path", "n": "net"}
    expected = left
    while "{" in expected:
        before, _, rest = expected.partition("{")
        told, _, after = rest.partition("}")
        sort, _, name = told.partition(":")
        prefix = "p" if sort == "p" else sorts[sort]
        expected = f"{before}{prefix}-{KEY.digest(sorts[sort], name)}{after}"
    assert names.text(text) == expected


def test_fields_that_say_what_they_are_need_not_look_like_it() -> None:
    names = pseudonyms()
    value = names.value({"hostname": "data", "user": "test", "uid": 1001, "key": "user", "value": "main", "rss": 1001})
    assert value["hostname"].startswith("host-")
    assert value["user"].startswith("user-")
    assert value["value"].startswith("user-")
    assert value["uid"] != 1001
    assert value["rss"] == 1001
    assert names.value({"hostname": "localhost", "user": "root"}) == {"hostname": "localhost", "user": "root"}


def test_what_is_encoded_cannot_be_looked_into_and_is_left_out() -> None:
    names = pseudonyms()
    logs = ["QUJD" * 100, "QUJE" * 100]
    left = [names.event(Event(kind="darshan.log", wf_uuid="w", fields={"data": log})) for log in logs]
    assert all(event.fields["data"].startswith("left-out-") for event in left)
    assert left[0].event_id != left[1].event_id


def test_dead_letters_are_left_out_since_nobody_knows_where_in_them_a_name_may_be(tmp_path: Path) -> None:
    manifest = exported(tmp_path / "repository", odd_store(tmp_path / "odd.db"), key=KEY)
    assert manifest.studies[0].dead_letters == 0
    assert not (tmp_path / "repository" / "dead_letters").exists()


@given(st.text(max_size=80), st.sampled_from(["ada-lovelace", "node17.example.org", "10.20.30.40"]))
def test_a_name_that_was_learned_is_in_no_text_whatever_stands_around_it(around: str, name: str) -> None:
    names = pseudonyms(hostname=name) if name[0] != "a" else pseudonyms(user=name)
    assert name not in names.text(f"{around} {name} {around}")
    assert name not in json.dumps(names.value({"a": [{f"x {name}": around}, name]}))


@pytest.mark.parametrize("piece", ["a", "a.", "a-", "a+", "a@"])
def test_a_text_that_was_made_to_take_long_takes_no_longer_than_others(piece: str) -> None:
    names, text = pseudonyms(), "x ://" + piece * 50_000
    begin = time.process_time()
    names.look(text)
    names.text(text)
    assert time.process_time() - begin < 10.0


def test_names_of_any_length_are_learned_and_replaced() -> None:
    long = "node" + "h7" * 500
    names = pseudonyms(hostname=long)
    for length in range(1, 300):
        names.user("q" * length)
    found = names.text(f"on {long} and {'q' * 299} and {'q' * 66}, {long}7")
    assert "qq" not in found
    assert found.count(long) == 1  # another host


def test_long_texts_are_not_kept_in_memory() -> None:
    names = pseudonyms()
    tracemalloc.start()
    try:
        for number in range(2000):
            text = f"{number} " + "line of output\n" * 1000
            names.look(text)
            names.text(text)
        assert tracemalloc.get_traced_memory()[0] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_key_is_for_its_owner_alone_and_never_stored(tmp_path: Path) -> None:
    path = tmp_path / "names.key"
    key = key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key_file(path).fingerprint == key.fingerprint
    exported(tmp_path / "repository", odd_store(tmp_path / "odd.db"), key=key)
    secret = path.read_text().strip()
    assert not any(secret in text for text in everything(tmp_path / "repository"))
    assert secret not in repr(key)
    os.chmod(path, 0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        key_file(path)
    short = tmp_path / "short.key"
    short.write_text("abc")
    short.chmod(0o600)
    with pytest.raises(UsageError, match="can be guessed"):
        key_file(short)
