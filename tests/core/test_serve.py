"""The road for servers: what is asked, when, how often, and what comes back."""

import itertools
import os
import signal
import threading
import time

import pytest

from parallelbench.cli.program import main
from parallelbench.errors import ServerError, UnreachableError
from parallelbench.model import Reply, Server
from parallelbench.models.api import Api
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.serve import ServerRequest, serve
from parallelbench.task import Message
from support.servers import Scripted, echoes, says, transformers_server, write_tiny_chat_model


class Scholar(Server):
    """Replies with ``answer(key)``, and keeps count of what it is asked at a time."""

    digest = "scholar"

    def __init__(self, answer=lambda key: f"re: {key}", *, concurrency=3):
        self.concurrency = concurrency
        self.asked = []
        self.most = self.now = 0
        self._answer = answer
        self._lock = threading.Lock()

    def reply(self, messages, *, key):
        with self._lock:
            self.asked.append(key)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            text = self._answer(key)
        finally:
            with self._lock:
                self.now -= 1
        return Reply(text, "stop", 1, None, 1, 0.0)

    def provenance(self):
        return {}


def questions(count):
    for number in range(count):
        key = str(number)
        yield ServerRequest((Message("user", f"what of {key}?"),), key=key, tag=("tag", number))


def fail(key):
    raise ServerError(f"no reply to {key}")


def texts(answers):
    return {answered.question.key: answered.reply.text for answered in answers}


def test_every_question_is_answered_once_and_comes_back_with_its_tag():
    answers = list(serve(questions(50), Scholar()))
    assert texts(answers) == {str(number): f"re: {number}" for number in range(50)}
    assert {answered.question.tag for answered in answers} == {("tag", n) for n in range(50)}
    assert all(answered.error is None for answered in answers)


def test_nothing_asked_is_nothing_answered():
    server = Scholar()
    assert list(serve([], server)) == []
    assert server.asked == []


def test_replies_do_not_depend_on_the_order_of_the_questions():
    def slowly(key):
        time.sleep(int(key) % 3 / 100)
        return f"re: {key}"

    forwards = texts(serve(questions(12), Scholar(slowly)))
    backwards = texts(serve(list(questions(12))[::-1], Scholar(slowly)))
    assert forwards == backwards


def test_slow_requests_overlap():
    # Nobody passes before eight have arrived.
    together = threading.Barrier(8)

    def waits(handler):
        together.wait(10)
        says("together")(handler)

    with Scripted(waits) as there:
        answers = list(serve(questions(16), Api(url=there.url, model="m").open()))
    assert [answered.reply.text for answered in answers] == ["together"] * 16


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_more_is_asked_at_a_time_than_the_server_wants(concurrency):
    def slowly(key):
        time.sleep(0.005)
        return key

    server = Scholar(slowly, concurrency=concurrency)
    list(serve(questions(20), server))
    assert server.most == concurrency


def test_questions_are_taken_as_room_becomes_free():
    taken = []
    endless = (taken.append(q) or q for number in itertools.count() for q in questions(number))
    answers = serve(endless, Scholar(concurrency=3))
    for answered in range(1, 30):
        next(answers)
        assert len(taken) <= 2 * 3 + answered
    answers.close()


def test_an_error_of_the_server_is_told_and_the_others_go_on():
    def answer(key):
        time.sleep(0.02)
        return fail(key) if key == "3" else key

    answers = {each.question.key: each for each in serve(questions(6), Scholar(answer))}
    assert answers["3"].reply is None
    assert answers["3"].error == "no reply to 3"
    assert all(answers[key].error is None for key in "01245")
    assert all(0.02 <= each.seconds < 10 for each in answers.values())


def test_a_server_that_answers_nothing_ends_the_run_after_its_failures_are_told():
    server = Scholar(fail, concurrency=2)
    answers = serve(questions(100), server, patience=5)
    told = [next(answers).error for _ in range(5)]
    assert sorted(told) == [f"no reply to {number}" for number in range(5)]
    # What had failed by then is told as well, and nothing more is asked.
    with pytest.raises(UnreachableError, match=r"^\d requests in a row failed, the last with: no"):
        told.extend(answered.error for answered in answers)
    assert 5 <= len(told) <= len(server.asked) <= 5 + 2 * 2


def test_few_failures_are_told_and_do_not_end_the_run():
    assert len(list(serve(questions(4), Scholar(fail), patience=5))) == 4


def test_a_reply_in_between_renews_the_patience():
    server = Scholar(lambda key: key if int(key) % 4 == 3 else fail(key), concurrency=1)
    answers = list(serve(questions(40), server, patience=4))
    assert sum(answered.error is None for answered in answers) == 10
    with pytest.raises(UnreachableError, match="3 requests in a row failed"):
        list(serve(questions(40), server, patience=3))


def test_a_reply_that_is_here_already_shows_that_the_server_is_back():
    third_told = threading.Event()
    fourth_go_on = threading.Event()
    begun = {key: threading.Event() for key in "0123456789"}

    def answer(key):
        begun[key].set()
        if key == "3":
            third_told.wait(10)
        if key == "4":
            fourth_go_on.wait(10)
        return fail(key) if key in "012" else key

    taken = []
    asking = (taken.append(question.key) or question for question in questions(10))
    answers = serve(asking, Scholar(answer, concurrency=2), patience=3)
    assert [next(answers).error for _ in range(3)] == [f"no reply to {n}" for n in range(3)]
    # One thread is at question 4; the other, once it is at 5, has handed in 3.
    assert begun["4"].wait(10)
    third_told.set()
    assert begun["5"].wait(10)
    assert next(answers).question.key == "3"
    # Until it was known to be back, nothing more was asked of it.
    assert taken == list("012345")
    fourth_go_on.set()
    assert len(list(answers)) == 6


def test_a_fault_of_ours_is_not_mistaken_for_the_servers():
    def faulty(key):
        raise ZeroDivisionError(key)

    with pytest.raises(ZeroDivisionError):
        list(serve(questions(9), Scholar(faulty)))


def test_a_fault_in_the_questions_is_raised():
    def faulty():
        yield from questions(2)
        raise KeyError("task")

    with pytest.raises(KeyError, match="task"):
        list(serve(faulty(), Scholar()))


def our_threads():
    return [each for each in threading.enumerate() if each.name.startswith("parallelbench-server")]


@pytest.fixture
def stuck():
    """A server that replies to the first question and to no other, until the test is over."""
    over = threading.Event()
    yield Scholar(lambda key: key if key == "0" else over.wait(60) and key, concurrency=4)
    over.set()


def test_whoever_stops_listening_does_not_wait_for_requests_under_way(stuck):
    begun = time.monotonic()
    answers = serve(questions(50), stuck)
    assert next(answers).question.key == "0"
    answers.close()
    assert time.monotonic() - begun < 5
    # Threads that the interpreter would wait for at its end keep a program from ending.
    assert our_threads()
    assert all(thread.daemon for thread in our_threads())


def test_an_interrupt_is_heard_while_waiting(stuck):
    answers = serve(questions(50), stuck)
    next(answers)
    main = threading.main_thread().ident
    threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(answers)
    assert time.monotonic() - begun < 5


def test_what_was_not_begun_is_dropped():
    go_on, all_busy = threading.Event(), threading.Event()

    def answer(key):
        if key != "0":
            if len(server.asked) == 4:
                all_busy.set()
            go_on.wait(10)
        return key

    server = Scholar(answer, concurrency=3)
    answers = serve(questions(50), server)
    next(answers)
    assert all_busy.wait(10)
    answers.close()
    go_on.set()
    for thread in our_threads():
        thread.join(10)
    assert sorted(server.asked) == ["0", "1", "2", "3"]


def test_the_line_is_hung_up_at_the_end_and_can_be_used_again():
    with Scripted(echoes) as there:
        server = Api(url=there.url, model="m").open()
        for _ in range(2):
            pool = server._client and server._client.pool
            assert len(list(serve(questions(3), server))) == 3
            assert server._client is None
            assert pool is None or not pool.connections


def test_impatience_is_refused():
    with pytest.raises(ValueError, match="patience must be at least 1 request, got 0"):
        next(serve(questions(1), Scholar(), patience=0))


def test_a_real_server_gives_the_same_replies_again(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write_tiny_chat_model(tmp_path)
    with transformers_server(tmp_path) as url:
        whole, streamed, elsewhere = (
            Api(url=url, model=model, max_tokens=12, stream=stream, concurrency=3)
            for model, stream in ((str(tmp_path), False), (str(tmp_path), True), ("none", False))
        )
        first = list(serve(questions(6), whole.open()))
        again = list(serve(questions(6), whole.open()))
        pieces = list(serve(questions(6), streamed.open()))
        wrong = list(serve(questions(2), elsewhere.open()))
        run = ["run", "--model", f"api:{url}:model={tmp_path},max_tokens=12", "--samples", "2"]
        run += ["--tasks", "waiting_line/copy,choices/city", "--out", str(tmp_path / "run")]
        assert main(run) == 0
        assert main(run) == 0, "nothing is left to ask"
    records = list(RunDirectory.open(tmp_path / "run").records())
    assert len(records) == 4
    for record in records:
        assert (record.status, record.decoder.name) == ("ok", "server")
        assert record.decoding is None
        assert record.marks is not None
        assert record.served.completion_tokens == 12
        assert record.seconds > 0
    (measured,) = RunDirectory.open(tmp_path / "run").throughput()
    assert (measured.decodes, measured.answer_tokens, measured.calls) == (4, 48, 4)
    spent = sum(record.seconds for record in records)
    assert measured.call_seconds == pytest.approx(spent, abs=1e-5), "spans keep six decimals"
    assert "per second on a server (" in str(measured)
    assert str(measured).split(";")[1].endswith(" per reply")
    assert (tmp_path / "run" / "report.html").stat().st_size > 0
    assert texts(first) == texts(again)
    # This server trims whole replies; of streamed ones it drops half a letter at the end.
    for key, text in texts(first).items():
        assert text.rstrip("\ufffd") in texts(pieces)[key]
    assert len(set(texts(first).values())) == 6
    for answered in (*first, *pieces):
        assert answered.reply.finish == "length"
        assert (answered.reply.completion_tokens, answered.reply.attempts) == (12, 1)
    assert all("it answered 400" in answered.error for answered in wrong)
    assert not os.environ.get("HF_HUB_CACHE")
