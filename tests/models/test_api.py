"""The client of OpenAI's chat interface, against servers that behave and that do not."""

import contextlib
import datetime as dt
import email.utils
import functools
import json
import logging
import math
import ssl
import threading
import time

import pytest

from parallelbench.errors import FieldError, RequestError, ServerError
from parallelbench.model import MODELS
from parallelbench.models import api_address, api_server
from parallelbench.models.api import Api
from parallelbench.setting import build, parse_settings
from parallelbench.task import Message
from support.servers import (
    DONE,
    Scripted,
    drips,
    echoes,
    fails,
    hangs_up,
    piece,
    says,
    sleeps,
    streams,
)

CHAT = (Message("user", "1, 2?"), Message("assistant", "2, 1"), Message("user", "3, 4?"))
KEY = "sk-0123456789-do-not-tell"


@pytest.fixture(autouse=True, scope="module")
def _certificates():
    # To read them takes longer than most of these tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture
def connect(monkeypatch):
    """Open a server without pausing between attempts; ``pauses`` is told of them."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with contextlib.ExitStack() as stack:

        def connect(url, pauses=None, **fields):
            server = Api(url=getattr(url, "url", url), model="m", **fields).open()
            seen = [] if pauses is None else pauses
            server._wait = lambda _, seconds: seen.append(seconds)
            stack.callback(server.close)
            return server

        yield connect


def ask(server, key="0"):
    return server.reply(CHAT, key=key)


def refusal(server, **kwargs):
    with pytest.raises(ServerError) as caught:
        ask(server, **kwargs)
    return str(caught.value)


def test_a_reply_comes_with_what_the_server_says_of_it(connect):
    with Scripted(says("4, 3", finish="length", tokens=5)) as there:
        reply = ask(connect(there))
    assert (reply.text, reply.finish, reply.completion_tokens) == ("4, 3", "length", 5)
    assert (reply.drafts, reply.attempts) == (None, 1)
    assert 0 < reply.seconds < 10


def test_a_request_says_what_was_asked_for_and_nothing_else(connect):
    with Scripted(says()) as there:
        ask(connect(there.url + "/", max_tokens=7))
    (request,) = there.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["body"] == {
        "model": "m",
        "messages": [
            {"role": "user", "content": "1, 2?"},
            {"role": "assistant", "content": "2, 1"},
            {"role": "user", "content": "3, 4?"},
        ],
        "max_tokens": 7,
        "temperature": 0.0,
        "stream": False,
    }
    assert "authorization" not in {name.lower() for name in request["headers"]}


def test_mercurys_fields_are_sent_when_asked_for_and_drafts_are_streamed(connect):
    with Scripted(streams(piece("a b", finish="stop"), DONE)) as there:
        ask(connect(there, diffusing=True, reasoning_effort="instant"))
    body = there.requests[0]["body"]
    assert (body["stream"], body["diffusing"], body["reasoning_effort"]) == (True, True, "instant")


def test_a_connection_is_used_again(connect):
    with Scripted(says()) as there:
        server = connect(there)
        ports = {ask(server) and there.requests[-1]["port"] for _ in range(3)}
    assert len(ports) == 1


def test_a_silent_answer_field_is_not_missed(connect):
    def bare(handler):
        handler.answer(200, {"choices": [{"message": {"content": ""}}]})

    with Scripted(bare) as there:
        reply = ask(connect(there))
    assert (reply.text, reply.finish, reply.completion_tokens) == ("", None, None)


PASSING = {
    "hangs_up": hangs_up,
    "garbage": fails(200, b"<html>Bad gateway</html>"),
    "cut_off": fails(200, b'{"choices": [{"message": {"content": "4, 3"}}', content_length="99"),
    "no_choice": fails(200, {"choices": []}),
    "not_a_chat": fails(200, [1, 2]),
    **{str(status): fails(status, b"later") for status in (408, 409, 425, 429, 500, 502, 503, 529)},
}


@pytest.mark.parametrize("trouble", PASSING)
def test_what_may_pass_is_tried_again_after_a_pause(connect, trouble):
    pauses = []
    with Scripted(PASSING[trouble], says("4, 3")) as there:
        reply = ask(connect(there, pauses))
    assert (reply.text, reply.attempts, len(there.requests)) == ("4, 3", 2, 2)
    assert there.requests[0]["body"] == there.requests[1]["body"]
    assert len(pauses) == 1
    assert 0 <= pauses[0] <= 0.5


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (fails(400, {"error": {"message": "too long"}}), r"in 1 try; it answered 400: too long$"),
        (fails(400, {"error": "too long"}), "it answered 400: too long$"),
        (fails(422, {"detail": [{"loc": "m"}]}), r"it answered 422: \[\{\"loc\": \"m\"\}\]$"),
        (fails(404, b"not found"), "it answered 404: not found$"),
        (fails(413), "it answered 413$"),
        (
            says(None, finish="length", tokens=256),
            "no content: .*: finish_reason length, 256 tokens$",
        ),
        (says(None, finish="stop", refusal="I must not"), "it refused: I must not$"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(connect, trouble, message):
    with Scripted(trouble) as there, pytest.raises(ServerError, match=message):
        ask(connect(there))
    assert len(there.requests) == 1


def test_after_the_last_attempt_the_error_tells_where_what_and_how_often(connect):
    pauses = []
    with Scripted(fails(500, {"error": {"message": "over\x1b[1m\nloaded"}})) as there:
        told = refusal(connect(there, pauses, attempts=3))
    assert told == (
        f"{there.url} gave no usable reply in 3 tries; it answered 500: over\ufffd[1m loaded"
    )
    assert len(there.requests) == 3
    assert len(pauses) == 2


def test_a_long_message_is_cut(connect):
    with Scripted(fails(400, b"x" * 5000)) as there:
        assert refusal(connect(there)).endswith("400: " + "x" * 200)


def test_pauses_are_random_and_grow_to_half_a_minute():
    for attempt, longest in ((1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (100, 30.0)):
        pauses = [api_server._pause(attempt, 0.0) for _ in range(500)]
        assert 0 <= min(pauses) < 0.05 * longest
        assert 0.95 * longest < max(pauses) <= longest


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("3600", 60, 60),
        ("-7", 0, 0.5),
        ("nan", 0, 0.5),
        ("inf", 0, 0.5),
        ("soon", 0, 0.5),
    ],
)
def test_a_server_that_asks_for_a_pause_gets_it_up_to_a_minute(connect, header, least, most):
    pauses = []
    with Scripted(fails(429, b"", retry_after=header), says()) as there:
        ask(connect(there, pauses))
    assert least <= pauses[0] <= most


@pytest.mark.parametrize(("ahead", "least", "most"), [(30, 10, 30), (9000, 60, 60), (-30, 0, 0.5)])
def test_a_server_may_name_the_time_when_to_come_back(connect, ahead, least, most):
    time_then = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=ahead)
    header = email.utils.format_datetime(time_then, usegmt=True)
    pauses = []
    with Scripted(fails(503, b"", retry_after=header), says()) as there:
        ask(connect(there, pauses))
    assert least <= pauses[0] <= most


def test_an_address_where_nobody_listens_is_told(connect):
    with Scripted(says()) as there:
        url = there.url
    told = refusal(connect(url, attempts=2))
    assert told.startswith(f"{url} gave no usable reply in 2 tries; the connection failed: ")
    assert "refused" in told


def test_a_host_name_that_cannot_be_is_an_error_of_the_server(connect):
    assert "the connection failed" in refusal(connect("http://a..b/v1", attempts=1))


# Streams


@pytest.mark.parametrize(
    "events",
    [
        [piece("", role="assistant"), piece("4,"), piece(" 3"), piece(finish="stop"), DONE],
        # As `transformers serve` ends it, and as others do.
        [piece("4,"), piece(" 3"), piece(finish="stop", tokens=5)],
        [piece("4,"), piece(" 3", finish="stop"), b'data: {"choices": []}\n\n', DONE],
        [b": hello\n\nevent: message\nid: 1\n", piece("4, 3", finish="stop"), b"data:[DONE]"],
        [piece("4, 3", finish="stop").replace(b"\n", b"\r\n"), DONE.replace(b"\n", b"\r\n")],
        [piece("4, 3", finish="stop"), DONE, piece(" and more")],
    ],
)
def test_a_stream_is_put_together(connect, events):
    with Scripted(streams(*events)) as there:
        reply = ask(connect(there, stream=True))
    assert (reply.text, reply.finish, reply.drafts) == ("4, 3", "stop", None)
    assert there.requests[0]["body"]["stream"] is True


def test_a_stream_may_end_without_a_reason_if_it_says_that_it_is_done(connect):
    with Scripted(streams(piece("4, 3"), DONE)) as there:
        reply = ask(connect(there, stream=True))
    assert (reply.text, reply.finish) == ("4, 3", None)


def test_the_usage_may_come_last(connect):
    usage = b'data: {"choices": [], "usage": {"completion_tokens": 9}}\n\n'
    with Scripted(streams(piece("4, 3", finish="stop"), usage, DONE)) as there:
        assert ask(connect(there, stream=True)).completion_tokens == 9


def test_lines_end_at_line_feeds_alone_however_the_bytes_arrive(connect):
    text = "caf\u00e9\u2028\u0085 \U0001f600"
    stream = piece(text, finish="stop") + DONE
    with Scripted(streams(*(stream[i : i + 1] for i in range(len(stream))))) as there:
        assert ask(connect(there, stream=True)).text == text


@pytest.mark.parametrize("diffusing", [False, True])
@pytest.mark.parametrize(
    "cut",
    [
        streams(piece("4, 3 and")),
        streams(),
        streams(piece("4, 3 and"), piece(finish="stop")[:-9]),
        streams(piece("4, 3 and"), b'data: {"error": {"message": "out of memory"}}\n\n', DONE),
        streams(piece("4, 3 and"), b"data: oops\n\n", DONE),
    ],
)
def test_a_stream_that_breaks_off_is_no_reply(connect, cut, diffusing):
    whole = streams(piece("4, 3 and 5", finish="stop"), DONE)
    with Scripted(cut, whole) as there:
        reply = ask(connect(there, stream=True, diffusing=diffusing))
    assert (reply.text, reply.attempts) == ("4, 3 and 5", 2)


def test_an_error_within_a_stream_is_told(connect):
    error = b'data: {"error": {"message": "out of memory"}}\n\n'
    with Scripted(streams(piece("4"), error)) as there:
        told = refusal(connect(there, stream=True, attempts=1))
    assert told.endswith("it broke off with an error: out of memory")


def test_a_model_that_ends_at_once_has_replied_with_nothing(connect):
    with Scripted(streams(piece(role="assistant"), piece(finish="stop"))) as there:
        assert ask(connect(there, stream=True)).text == ""


def test_a_stream_of_thoughts_alone_is_no_reply(connect):
    thoughts = piece(reasoning_content="hm"), piece(finish="length", tokens=256)
    with Scripted(streams(*thoughts, DONE)) as there:
        assert "finish_reason length, 256 tokens" in refusal(connect(there, stream=True))
    assert len(there.requests) == 1


def test_a_server_that_does_not_stream_is_understood_all_the_same(connect):
    with Scripted(says("4, 3")) as there:
        reply = ask(connect(there, diffusing=True))
    assert (reply.text, reply.drafts) == ("4, 3", None)


def test_an_event_stream_is_read_as_the_standard_says(connect):
    halves = piece("4, 3", finish="stop").rstrip().partition(b', "finish_reason"')
    stream = (
        b"\xef\xbb\xbfdata: "
        + halves[0][6:]
        + b"\nevent: message\ndata: "
        + b"".join(halves[1:])
        + b"\n\ndata\n\ndata:\n\n: comment\n\nid: 7\nretry: 5\n\ndata:  [DONE]\n\n"
    )
    for end in (b"\n", b"\r\n", b"\r"):
        content = stream.replace(b"\n", end)
        for size in (1, 2, 7, len(content)):
            pieces = [content[i : i + size] for i in range(0, len(content), size)]
            assert api_server._read_stream(pieces, whole=False).content == "4, 3"


def test_a_mark_of_byte_order_counts_at_the_start_alone():
    events = list(
        api_server._events([b"\xef\xbb", b"\xbfdata: a\n\n", b"\xef\xbb\xbfdata: b\n\ndata: c"])
    )
    assert events == [(b"", b"a"), (b"", b"c")]
    said = api_server._read_answer(b'\xef\xbb\xbf{"choices": [{"message": {"content": "4"}}]}')
    assert said.content == "4"


def test_an_event_of_type_error_is_told(connect):
    with Scripted(streams(b'event: error\ndata: {"message": "out of memory"}\n\n')) as there:
        told = refusal(connect(there, stream=True, attempts=1))
    assert told.endswith("it broke off with an error: out of memory")


# Thinking


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("content", "finish", "text"),
    [
        ("4, 3", "stop", "4, 3"),
        ("<think>\n\n</think>\n\n4, 3", "stop", "4, 3"),
        ("<think>3, 4?</think>4, 3", "length", "4, 3"),
        ("3, 4?</think>\n4, 3", "stop", "4, 3"),
        ("<think>no end", "length", None),
        ("<think>all</think>\n", "length", None),
        ("<think>all</think>\n", "stop", ""),
        ("", "stop", ""),
        ("", "length", None),
        ("", "content_filter", None),
    ],
)
def test_thinking_is_no_part_of_the_answer(connect, content, finish, text, stream):
    behaviour = streams(piece(content), piece(finish=finish), DONE)
    with Scripted(behaviour if stream else says(content, finish=finish)) as there:
        server = connect(there, stream=stream)
        if text is not None:
            reply = ask(server)
            assert (reply.text, reply.content) == (text, None if text == content else content)
            return
        with pytest.raises(ServerError) as caught:
            ask(server)
    assert len(there.requests) == 1
    fragment = caught.value.fragment
    assert (fragment.content or fragment.text, fragment.finish) == (content, finish)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_what_is_thought_in_a_field_of_its_own_is_kept_apart(connect, field):
    with Scripted(
        says("4, 3", **{field: "3, 4?"}),
        streams(piece(**{field: "3, "}), piece(**{field: "4?"}), piece("4, 3", finish="stop")),
    ) as there:
        replies = [ask(connect(there, stream=stream)) for stream in (False, True)]
    assert [(reply.text, reply.reasoning) for reply in replies] == [("4, 3", "3, 4?")] * 2


# Fields that a server does not take


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_completion_tokens": 9}, {"max_completion_tokens": 9, "temperature": 0.0}),
        ({"max_tokens": None}, {"temperature": 0.0}),
        ({"temperature": None, "seed": False}, {"max_tokens": 256}),
    ],
)
def test_fields_are_renamed_or_left_out_where_that_is_asked_for(connect, fields, sent):
    with Scripted(says()) as there:
        ask(connect(there, **fields))
    (request,) = there.requests
    assert request["body"].items() >= sent.items()
    assert request["body"].keys() == {"model", "messages", "stream", *sent}


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "max_completion_tokens=N or max_tokens=none",
        ),
        ("'temperature' does not support 0.0 with this model", "temperature=none"),
    ],
)
def test_a_refusal_that_names_a_field_says_how_to_ask_without_it(connect, message, advice):
    with Scripted(fails(400, {"error": {"message": message}})) as there:
        told = refusal(connect(there))
    assert f"ask with {advice}): {message}" in told


# Whole drafts


def test_of_whole_drafts_the_last_is_the_reply_and_those_before_are_counted(connect):
    drafts = [piece("? 4 3"), piece("4, 4 3"), piece("4, 4 3"), piece("4, 3", tokens=4)]
    empty = piece("", role="assistant"), piece("", finish="stop")
    with Scripted(streams(empty[0], *drafts, empty[1], DONE)) as there:
        reply = ask(connect(there, diffusing=True))
    assert (reply.text, reply.drafts, reply.finish) == ("4, 3", 3, "stop")


def test_deltas_are_not_taken_for_drafts(connect):
    words = [piece(f"word{number} ") for number in range(30)]
    with Scripted(streams(*words, piece(".", finish="stop", tokens=61), DONE)) as there:
        told = refusal(connect(there, diffusing=True))
    assert "these are not whole drafts; set diffusing=false: ." in told


# Bounds


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_without_end_does_not_fill_the_memory(connect, monkeypatch, stream):
    monkeypatch.setattr(api_server, "_LARGEST_REPLY", 100_000)
    with Scripted(drips(piece("again and again"))) as there:
        told = refusal(connect(there, stream=stream))
    assert told.endswith("its reply is longer than 100000 bytes")
    assert len(there.requests) == 1


def test_nothing_is_unpacked(connect):
    with Scripted(says()) as there:
        ask(connect(there))
    headers = {name.lower(): value for name, value in there.requests[0]["headers"].items()}
    assert headers["accept-encoding"] == "identity"


def test_a_reply_that_drips_is_given_up_in_time(connect):
    begun = time.monotonic()
    with Scripted(drips(piece("."), 0.02)) as there:
        told = refusal(connect(there, stream=True, timeout=0.3, attempts=1))
    assert told.endswith("no whole reply came within timeout=0.3 seconds")
    assert time.monotonic() - begun < 5


def test_silence_is_given_up_and_tried_again(connect):
    with Scripted(sleeps) as there:
        told = refusal(connect(there, timeout=0.2, attempts=2))
    assert told.endswith("in 2 tries; no whole reply came within timeout=0.2 seconds")


# Secrets


def echo_header(handler, status=401):
    handler.answer(status, {"error": {"message": f"bad: {handler.headers['authorization']}"}})


def echo_at_the_cut(handler):
    # Were it cut first, the first half of the key would stand at the end.
    handler.answer(401, ("x" * 190 + handler.headers["authorization"][7:]).encode())


def echo_in_stream(handler):
    error = json.dumps({"error": handler.headers["authorization"]}).encode()
    streams(b"data: " + error + b"\n\n")(handler)


def echo_in_location(handler):
    handler.answer(307, b"", location=f"http://127.0.0.1:9/{handler.headers['authorization'][7:]}")


def echo_as_reason(handler):
    says(None, finish=handler.headers["authorization"])(handler)


def echo_as_garbage(handler):
    handler.answer(200, handler.headers["authorization"].encode())


@pytest.mark.parametrize(
    "echo",
    [
        echo_header,
        echo_at_the_cut,
        echo_in_stream,
        echo_in_location,
        echo_as_reason,
        echo_as_garbage,
    ],
)
def test_the_key_stands_in_the_header_and_nowhere_else(connect, monkeypatch, caplog, echo):
    caplog.set_level(logging.DEBUG)  # the library then logs the headers of answers
    monkeypatch.setenv("MY_KEY", KEY)
    with Scripted(echo) as there:
        server = connect(there, key_env="MY_KEY", attempts=2, stream=echo is echo_in_stream)
        told = refusal(server)
    headers = {name.lower(): value for name, value in there.requests[0]["headers"].items()}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "[key]" in told
    assert server.provenance()["key_env"] == "MY_KEY"
    for text in (
        told,
        json.dumps(server.provenance()),
        repr(server),
        repr(server._source),
        caplog.text,
    ):
        assert KEY[:8] not in text
    assert KEY not in json.dumps(there.requests[0]["body"])


def test_another_key_asks_for_the_same(connect, monkeypatch):
    digests = set()
    for key in (KEY, "other"):
        monkeypatch.setenv("MY_KEY", key)
        digests.add(connect("http://127.0.0.1:9/v1", key_env="MY_KEY").digest)
    assert len(digests) == 1


def test_without_a_key_none_is_sent_and_a_refusal_says_so(connect, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with Scripted(echo_header) as there:
        server = connect(there, key_env="MY_KEY")
        told = refusal(server)
    assert server.provenance()["key_env"] is None
    assert "no key was sent: the environment variable MY_KEY is not set" in told


def redirects_to(url):
    return fails(307, b"", location=f"{url}?ticket=1")


def test_a_redirect_is_not_followed(connect, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    with Scripted(says()) as elsewhere, Scripted(redirects_to(elsewhere.url)) as there:
        told = refusal(connect(there, key_env="MY_KEY"))
    assert told.endswith(f"give that address: {elsewhere.url}")
    assert not elsewhere.requests
    assert len(there.requests) == 1


@pytest.mark.parametrize(
    "given", [KEY, "sk_live_4242", "abcdef", "0F3C" * 8, "AKIA1234567890ABCDEF", "A" * 70, "A B"]
)
def test_a_key_in_the_place_of_a_name_is_refused_and_not_repeated(given):
    with pytest.raises(FieldError, match="key_env must name an environment variable") as caught:
        parse_settings(f"api:http://h/v1:model=m,key_env={given}", MODELS)
    assert given not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:s3cret@h/v1",
        "https://me:s3/cret@h/v1",
        "https://h/v1?key=s3cret",
        "https://h#s3",
    ],
)
def test_credentials_in_the_address_are_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="no user, password or query") as caught:
        Api(url=url, model="m")
    assert "s3" not in str(caught.value)


def test_an_environment_variable_that_holds_no_key_is_refused_and_not_shown(connect, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-first\nsk-second")
    with pytest.raises(RequestError, match="MY_KEY holds no key") as caught:
        connect("https://h/v1", key_env="MY_KEY")
    assert "sk-" not in str(caught.value)


def test_the_line_break_behind_a_key_does_not_matter(connect, monkeypatch):
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    with Scripted(says()) as there:
        ask(connect(there, key_env="MY_KEY"))
    headers = {name.lower(): value for name, value in there.requests[0]["headers"].items()}
    assert headers["authorization"] == f"Bearer {KEY}"


def test_the_usual_key_is_not_sent_unencrypted_to_another_machine(connect, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for url in ("http://node17:8000/v1", "HTTP://node17:8000/v1"):
        with pytest.raises(RequestError, match=r"is not encrypted.*unset OPENAI_API_KEY") as caught:
            connect(url)
        assert KEY not in str(caught.value)
    for url in (
        "https://node17/v1",
        "http://127.0.0.1:9/v1",
        "http://localhost/v1",
        "http://[::1]",
    ):
        assert connect(url).provenance()["key_env"] == "OPENAI_API_KEY"
    monkeypatch.setenv("NODE_KEY", "node")
    assert (
        connect("http://node17:8000/v1", key_env="NODE_KEY").provenance()["key_env"] == "NODE_KEY"
    )
    monkeypatch.delenv("OPENAI_API_KEY")
    assert connect("http://node17:8000/v1").provenance()["key_env"] is None


# Proxies


def test_this_machine_is_asked_without_a_proxy(connect, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Scripted(says("4, 3")) as there:
        assert ask(connect(there, attempts=1)).text == "4, 3"
        local = there.url.replace("127.0.0.1", "localhost")
        assert ask(connect(local, attempts=1)).text == "4, 3"


def test_other_machines_are_asked_through_the_proxy_that_the_environment_names(
    connect, monkeypatch
):
    with Scripted(says("4, 3")) as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        assert ask(connect("http://far.invalid/v1", attempts=1)).text == "4, 3"
    assert proxy.requests[0]["path"] == "http://far.invalid/v1/chat/completions"


@pytest.mark.parametrize(
    ("entry", "host", "direct"),
    [
        ("localhost,::1/128,far.invalid", "far.invalid", True),
        ("::1/128", "far.invalid", False),
        ("fd00::/8", "[fd00::7]", True),
        ("[fd00::]/8", "[fe80::7]", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("a b, http://[, *", "far.invalid", True),
        (".invalid", "far.invalid", True),
    ],
)
def test_any_entry_of_no_proxy_is_understood(connect, monkeypatch, entry, host, direct):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, entry)
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1:9")
    connect(f"https://{host}/v1")
    assert api_address.proxy_for(f"https://{host}/v1") == (None if direct else "http://127.0.0.1:9")


@pytest.mark.parametrize("proxy", ["gopher://me:s3cret@h", "http://me:s3/cret@h"])
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(connect, monkeypatch, proxy):
    monkeypatch.setenv("all_proxy", proxy)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(RequestError, match="the proxy or the certificates") as caught:
        connect("https://far.invalid/v1")
    assert "s3" not in str(caught.value)


def test_a_proxy_that_needs_a_package_says_which(connect, monkeypatch):
    def missing(*_, **__):
        raise RuntimeError("the package is missing")

    monkeypatch.setattr("httpcore.SOCKSProxy", missing)
    for name in ("all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks5://me:s3cret@h:1080")
    with pytest.raises(RequestError, match="cannot be used: the package is missing"):
        connect("https://far.invalid/v1")


# Seeds and digests


def test_a_seed_is_sent_with_a_temperature_only_and_made_from_the_key_alone(connect):
    with Scripted(says()) as there:
        for key in ("a", "b", "a"):
            ask(connect(there, temperature=0.7), key=key)
        ask(connect(there, temperature=0.7, seed=False))
        ask(connect(there))
    first, second, again, *unseeded = [request["body"].get("seed") for request in there.requests]
    assert first == again != second
    assert 0 <= first < 2**31
    assert first == 0xCA978112 >> 1  # SHA-256 of "a" begins with these bytes
    assert unseeded == [None, None]


def test_the_digest_names_what_was_asked_for_and_not_how_patiently(connect):
    url = "http://127.0.0.1:9/v1"
    digest = connect(url).digest
    patient = {"concurrency": 3, "timeout": 7.0, "attempts": 2, "seed": False, "key_env": "K"}
    assert connect(url + "/", **patient).digest == digest
    others = [
        connect("http://127.0.0.1:8/v1"),
        *(
            connect(url, **field)
            for field in (
                {"max_tokens": 3},
                {"temperature": 0.5},
                {"temperature": 0.5, "seed": False},
                {"stream": True},
                {"diffusing": True},
                {"reasoning_effort": "low"},
            )
        ),
        Api(url=url, model="n").open(),
    ]
    assert len({digest, *(other.digest for other in others)}) == 9


def test_facts_are_json_and_tell_what_was_asked(connect):
    facts = connect("http://127.0.0.1:9/v1", temperature=0.5).provenance()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["family"] == "api"
    assert facts["url"] == "http://127.0.0.1:9/v1"
    assert facts["request"]["model"] == "m"
    assert facts["seeded"] is True


# Settings


def test_a_server_is_asked_for_in_one_line():
    (local,) = parse_settings("api:http://127.0.0.1:8000/v1/:model=my-model", MODELS)
    assert local.label == "api:http://127.0.0.1:8000/v1:model=my-model"
    line = (
        "api:https://api.inceptionlabs.ai/v1:model=mercury-2,key_env=INCEPTION_API_KEY,"
        "diffusing=true,reasoning_effort=instant"
    )
    (mercury,) = parse_settings(line, MODELS)
    assert mercury.label == line
    source = build(mercury, MODELS)
    assert isinstance(source, Api)
    assert (source.serves, source.diffusing, source.concurrency) == (True, True, 8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": None}, "add model=NAME"),
        ({"url": "ftp://h/v1"}, "must begin with http:// or https://"),
        ({"url": "h:8000/v1"}, "must begin with http:// or https://"),
        ({"url": "http:///v1"}, "must begin with http:// or https://"),
        ({"url": "http://a b/v1"}, "must begin with http:// or https://"),
        ({"url": "http://h:x/v1"}, "cannot be read: Invalid port"),
        ({"url": "http://h:70000/v1"}, "port of url must be 1 to 65535"),
        ({"url": "http://h/v1/chat/completions/"}, "must end before /chat/completions"),
        ({"max_tokens": 0}, "max_tokens must be at least 1 token, got 0"),
        ({"temperature": -0.1}, r"temperature must lie in \[0, inf\), got -0.1"),
        ({"temperature": math.nan}, r"temperature must lie in \[0, inf\), got nan"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "give one, got 3 and 4"),
        ({"max_completion_tokens": 0}, "max_completion_tokens must be at least 1 token, got 0"),
        ({"concurrency": 0}, "concurrency must be 1 to 1,024 requests, got 0"),
        ({"timeout": 0.0}, r"timeout must lie in \(0, 86400\] seconds, got 0.0"),
        ({"timeout": math.inf}, r"timeout must lie in \(0, 86400\] seconds, got inf"),
        ({"attempts": 0}, "attempts must be 1 to 100 requests, got 0"),
    ],
)
def test_impossible_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Api(**{"url": "http://h/v1", "model": "m", **fields})


# Hanging up


def test_hanging_up_ends_the_pause_of_who_would_try_again():
    begun = threading.Event()
    told = []

    def trouble(handler):
        begun.set()
        fails(503, b"later", retry_after="50")(handler)

    with Scripted(trouble) as there:
        server = Api(url=there.url, model="m").open()
        asking = threading.Thread(target=lambda: told.append(refusal(server)), daemon=True)
        asking.start()
        assert begun.wait(10)
        server.close()
        asking.join(10)
    assert told[0].endswith("in 1 try; it answered 503: later")


def test_after_hanging_up_the_last_to_leave_closes_and_the_next_connects_anew():
    begun, go_on = threading.Event(), threading.Event()
    replies = []

    def waits(handler):
        begun.set()
        go_on.wait(10)
        echoes(handler)

    with Scripted(waits, says("anew")) as there:
        server = Api(url=there.url, model="m").open()
        first = server._client.pool
        asking = threading.Thread(target=lambda: replies.append(ask(server).text), daemon=True)
        asking.start()
        assert begun.wait(10)
        server.close()
        assert first.connections
        assert ask(server).text == "anew"
        go_on.set()
        asking.join(10)
        assert replies == ["3, 4?"]
        assert not first.connections
        server.close()
