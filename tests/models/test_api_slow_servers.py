"""Servers that never finish, or that never stop: a request has one deadline and one allowance.

Each drips for ten seconds, far beyond the timeout, and then replies as it should: who takes each
silence alone for the limit gets a reply.
"""

import json
import logging
import time

import pytest

from parallelbench.errors import RequestError, ServerError
from parallelbench.evaluation import load_run
from parallelbench.models import api_server
from parallelbench.models.api import Api
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from parallelbench.task import Message
from support.servers import DONE, Scripted, echoes, fails, piece, says, streams

KEY = "sk-0123456789-do-not-tell"
REPLY = json.dumps({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})
HEADERS = b"content-type: application/json\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\n" + HEADERS + b"transfer-encoding: chunked\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\n" + HEADERS + b"content-length: %d\r\n\r\n" % len(REPLY)
CHUNK = b"%x" % len(REPLY)


def raw(before, dripped, after, *, seconds=0.02):
    """Send ``before``, then ``dripped`` again and again, then ``after``; headers included."""

    def behaviour(handler):
        handler.close_connection = True
        handler.wfile.write(before)
        end = time.monotonic() + 10
        while time.monotonic() < end and not handler.server.over.wait(seconds):
            handler.wfile.write(dripped)
        handler.wfile.write(after)

    return behaviour


BODY = REPLY.encode()
DRIPPED = {
    "status line": raw(b"HTTP/1.1 200 ", b"O", b"K" + WHOLE[15:] + BODY),
    "header": raw(WHOLE[:-2] + b"x: ", b"x", b"\r\n\r\n" + BODY),
    "headers": raw(WHOLE[:-2], b"a: b\r\n", b"\r\n" + BODY),
    "chunk extension": raw(CHUNKED + CHUNK + b";", b"x", b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "trailer": raw(CHUNKED + CHUNK + b"\r\n" + BODY + b"\r\n0\r\nx: ", b"x", b"\r\n\r\n"),
    "interim responses": raw(b"", b"HTTP/1.1 102 Processing\r\n\r\n", WHOLE + BODY),
    "body": raw(WHOLE.replace(b"content-length", b"x-length"), b" ", BODY),
    "body of an error": raw(b"HTTP/1.1 503 Busy\r\n\r\n", b" ", b""),
    "comments of a stream": raw(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        b": wait\n",
        piece("hello", finish="stop") + DONE,
    ),
}


@pytest.fixture
def ask(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MY_KEY", KEY)

    def ask(there, message="1, 2?", **fields):
        server = Api(url=there.url, model="m", key_env="MY_KEY", **fields).open()
        server._wait = lambda *_: False
        try:
            return server.reply([Message("user", message)], key="0")
        finally:
            server.close()

    return ask


@pytest.mark.attack("refused")
@pytest.mark.parametrize("place", DRIPPED)
def test_no_part_of_a_reply_may_drip_beyond_the_timeout(ask, place):
    stream = place == "comments of a stream"
    with Scripted(DRIPPED[place]) as there, pytest.raises(ServerError) as caught:
        ask(there, timeout=0.2, attempts=1, stream=stream)
    assert str(caught.value).endswith("in 1 try; no whole reply came within timeout=0.2 seconds")


def test_after_a_reply_that_dripped_the_next_try_gets_one(ask):
    with Scripted(DRIPPED["trailer"], says("4, 3")) as there:
        reply = ask(there, timeout=0.5, attempts=2)
    assert (reply.text, reply.attempts, len(there.requests)) == ("4, 3", 2, 2)
    # What was hung up is not used again: its trailer would be taken for the next reply.
    assert there.requests[0]["port"] != there.requests[1]["port"]


ENDLESS = {
    "status line": raw(b"HTTP/1.1 200 ", b"O" * 10_000, b"", seconds=0),
    "header": raw(WHOLE[:-2] + b"x: ", b"x" * 10_000, b"", seconds=0),
    "headers": raw(WHOLE[:-2], b"a: b\r\n" * 1_000, b"", seconds=0),
    "chunk extension": raw(CHUNKED + CHUNK + b";", b"x" * 10_000, b"", seconds=0),
    "trailer": raw(
        CHUNKED + CHUNK + b"\r\n" + BODY + b"\r\n0\r\n", b"a: b\r\n" * 1_000, b"", seconds=0
    ),
    "extensions of small chunks": raw(
        CHUNKED, b"1;" + b"x" * 10_000 + b"\r\n \r\n", b"", seconds=0
    ),
    "interim responses": raw(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100, b"", seconds=0),
}


@pytest.mark.attack("refused")
@pytest.mark.parametrize("place", ENDLESS)
def test_no_part_of_a_reply_is_without_end(ask, monkeypatch, place):
    monkeypatch.setattr(api_server, "_MOST_RECEIVED", 300_000)
    with Scripted(ENDLESS[place]) as there, pytest.raises(ServerError) as caught:
        ask(there, timeout=60.0, attempts=1)
    assert "it sent more than 300000 bytes" in str(caught.value) or (
        "the connection failed: Receive buffer too long" in str(caught.value)
    )


# The key


def in_text(handler):
    says(f"your key is {KEY}.")(handler)


def in_reasoning(handler):
    says("4, 3", reasoning=f"they sent {KEY}")(handler)


def in_thinking(handler):
    says(f"<think>they sent {KEY}</think>4, 3")(handler)


def in_finish(handler):
    says("4, 3", finish=KEY)(handler)


def in_pieces(handler):
    events = [piece(KEY[:9]), piece(KEY[9:], finish="stop"), DONE]
    streams(*events)(handler)


def in_headers(handler):
    body = json.loads(REPLY)
    handler.answer(200, body, x_key=KEY, set_cookie=f"key={KEY}")


def in_status_line(handler):
    handler.close_connection = True
    handler.wfile.write(f"HTTP/1.1 {KEY}\r\n\r\n".encode())


def in_error(handler):
    fails(400, {"error": {"message": f"bad key {KEY}"}})(handler)


def in_silence(handler):
    says(None, finish="length", reasoning=f"they sent {KEY}")(handler)


ECHOES = [
    in_text,
    in_reasoning,
    in_thinking,
    in_finish,
    in_pieces,
    in_headers,
    in_status_line,
    in_error,
    in_silence,
]


@pytest.mark.attack("harmless")
@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_that_a_server_repeats_reaches_no_file_and_no_log(
    monkeypatch, tmp_path, caplog, echo
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    with Scripted(echo) as there:
        model = f"api:{there.url}:model=m,key_env=MY_KEY,attempts=1,stream={echo is in_pieces}"
        content = {"models": model, "tasks": "choices/dice", "decoders": "one_by_one"}
        run(make_runfile({**content, "samples": 2}), tmp_path / "run")
        assert len(there.requests) == 2
    for file in (tmp_path / "run").rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes()
    assert KEY not in caplog.text
    told = [record.model_dump_json() for record in load_run(tmp_path / "run").records]
    assert echo is in_headers or all("[key]" in record for record in told)


@pytest.mark.attack("harmless")
def test_what_a_server_replies_is_masked_however_it_is_quoted(monkeypatch, ask):
    monkeypatch.setenv("MY_KEY", key := r"sk-\0123/456'789")
    with Scripted(lambda handler: fails(404, handler.path + key)(handler)) as there:
        with pytest.raises(ServerError) as caught:
            ask(there)
        assert "[key]" in str(caught.value)
    for form in (repr({"key": key}), json.dumps([key]), "sk-%5C0123%2F456%27789"):
        assert "0123" not in api_server._without(key, form)


def test_a_key_as_short_as_a_word_leaves_replies_as_they_are(monkeypatch, ask):
    monkeypatch.setenv("MY_KEY", "local")
    with Scripted(echoes) as there:
        assert ask(there, "a local train").text == "a local train"


def test_a_key_that_cannot_be_used_is_not_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY + "\n" + KEY)
    with pytest.raises(RequestError) as caught:
        Api(url="http://127.0.0.1:9", model="m", key_env="MY_KEY").open()
    assert KEY not in str(caught.value)
