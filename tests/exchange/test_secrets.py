"""What looks like a password, a token or a private key is found in texts; what only sounds like one is left."""

from __future__ import annotations

import time

import pytest

from panorama_driver.exchange._secrets import redacted, without_secrets


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("amqps://me:p%40ss@host:5671/vhost", "amqps://me:LEFT-OUT@host:5671/vhost"),
        ("gsiftp://me@host/x", "gsiftp://me@host/x"),
        ("curl -H 'Authorization: Bearer abc.def-ghi' x", "curl -H 'Authorization: Bearer LEFT-OUT' x"),
        ("run --password hunter22 --n 3", "run --password LEFT-OUT --n 3"),
        ("run --api-key=abcdef", "run --api-key=LEFT-OUT"),
        ("export AWS_SECRET_ACCESS_KEY=abcd/efg+h X=1", "export AWS_SECRET_ACCESS_KEY=LEFT-OUT X=1"),
        ('{"access_token": "abcdef", "n": 1}', '{"access_token": "LEFT-OUT", "n": 1}'),
        ("https://s3/x?X-Amz-Signature=0123&y=1", "https://s3/x?X-Amz-Signature=LEFT-OUT&y=1"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END", "-----BEGIN RSA PRIVATE KEY-----LEFT-OUT-----END"),
        ("PGPASSWORD=hunter22 psql", "PGPASSWORD=LEFT-OUT psql"),
        ("clientSecret: abcdef, apiToken=abcdef", "clientSecret: LEFT-OUT, apiToken=LEFT-OUT"),
        ("detoken=abcdef", "detoken=abcdef"),
        ("the secret of tokens is in their key", "the secret of tokens is in their key"),
        ("/home/secret/token/x.dat", "/home/secret/token/x.dat"),
        ("passed 7 of 8", "passed 7 of 8"),
    ],
)
def test_secrets_in_texts(text: str, left: str) -> None:
    assert redacted(text) == left
    assert redacted(left) == left


@pytest.mark.parametrize("piece", ["-a", "a.", "a+", "-", "token "])
def test_a_text_that_was_made_to_take_long_takes_no_longer_than_others(piece: str) -> None:
    begin = time.process_time()
    redacted("secret " + piece * 50_000)
    assert time.process_time() - begin < 5.0


def test_secrets_by_the_name_of_their_field() -> None:
    fields = {"db_password": "x", "n": 1, "deep": [{"token": "abc"}, "a"], "tokens": 7, "key": "campaign"}
    assert without_secrets(fields) == {
        "db_password": "LEFT-OUT",
        "n": 1,
        "deep": [{"token": "LEFT-OUT"}, "a"],
        "tokens": 7,
        "key": "campaign",
    }
    assert without_secrets({"argv": ["x", "--db-password", "hunter22", "--n", "3"], "PGPASSWORD": "x"}) == {
        "argv": ["x", "--db-password", "LEFT-OUT", "--n", "3"],
        "PGPASSWORD": "LEFT-OUT",
    }
    clean = {"a": [1, {"b": "c"}], "x": 1.5}
    assert without_secrets(clean) is clean
