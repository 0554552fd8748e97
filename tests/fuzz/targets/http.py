"""One request to the way in by HTTP: its head and its body."""

from __future__ import annotations

from panorama_driver.collector._http import (
    Refusal,
    Request,
    body_length,
    body_of,
    check_target,
    check_token,
    parse_head,
)
from panorama_driver.collector._intake import Record
from panorama_driver.errors import FormatError

_TOLD = b"Authorization: Bearer secret\r\nContent-Length: 99\r\n\r\n"
SEEDS = [
    b"POST / HTTP/1.1\r\nHost: localhost:8080\r\n" + _TOLD + b'{"event":"kickstart.inv.online","wf_uuid":"w","seq":1}',
    b"POST /events HTTP/1.1\r\n" + _TOLD + b'{"event":"stampede.xwf.end","xwf.id":"w"}\n\n{"event":"x"}\n{"a":\n',
    b"POST /api/exchanges/%2F/monitoring/publish HTTP/1.0\r\n" + _TOLD + b'{"properties":{"delivery_mode":2},'
    b'"routing_key":"kickstart.inv.online","payload":"eyJldmVudCI6ImtpY2tzdGFydC5pbnYub25saW5lIn0=",'
    b'"payload_encoding":"base64"}',
    b"POST / HTTP/1.1\r\nAuthorization: Basic dTpzZWNyZXQ=\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]


def one(data: bytes) -> None:
    """Records, a refusal, or things that are none, of which nothing is lost."""
    head, _, body = data.partition(b"\r\n\r\n")
    for path in ("/", "/api/exchanges/a/b/publish"):
        found = body_of(Request("POST", path, {}, lasting=True), body)
        assert bool(found.reason) == bool(found.others or not found.records)
        for line in found.records + found.others:
            _one_record(line)
    try:
        request = parse_head(head + b"\r\n\r\n")
        check_target(request)
        check_token(request, "secret")
        assert 0 <= body_length(request, 1000) <= 1000
    except Refusal as refusal:
        answer = refusal.answer
    else:
        return
    assert answer.startswith(b"HTTP/1.1 4")


def _one_record(line: bytes) -> None:
    record = Record(line, "http")
    try:
        assert record.events()
        return
    except FormatError as error:
        letter = record.letter(error)
    assert "defect of this program" not in letter.reason
    assert letter.whole
