"""Grammar engines: what they find, where, and what is said when one is missing."""

import contextlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from parallelbench.errors import EngineError, UnknownNameError
from parallelbench.tasks.grammar import ENGINES, SERVER_VARIABLE, open_engine

CLEAN = (
    "The old clock in the hall stopped at midnight.",
    "She could swim before she was able to read.",
    "A stranger helped us change the tire.",
)


@pytest.fixture(params=["lingotweaker", "harper"])
def engine(request):
    return open_engine(request.param)


def found(engine, sentence):
    """The words that the engine finds fault with."""
    (problems,) = engine.problems([sentence])
    return [sentence[slice(*problem.span)] for problem in problems]


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("Every morning he drinks drinks tea.", ["drinks drinks"]),
        ("It was an disrespectful remark.", ["an"]),
        ("In the evening she go home.", ["go"]),
    ],
)
def test_the_faults_of_parallel_decoding_are_found_where_they_stand(engine, sentence, words):
    assert found(engine, sentence) == words


def test_clean_sentences_are_clean(engine):
    assert engine.problems(CLEAN) == [[], [], []]


def test_a_place_is_told_in_characters(engine):
    assert found(engine, "Zoë and I had café au lait. In the evening she go home.")[-1] == "go"


def test_each_sentence_has_its_own_problems(engine):
    counts = [len(each) for each in engine.problems([CLEAN[0], "She go go home.", CLEAN[1]])]
    assert counts[0] == counts[2] == 0 < counts[1]


def test_problems_come_in_the_order_of_the_text(engine):
    (problems,) = engine.problems(["She go home on an bus bus."])
    spans = [problem.span for problem in problems]
    assert len(spans) >= 2
    assert spans == sorted(spans)
    assert all(problem.rule and problem.message for problem in problems)


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\x00", "🙂" * 50, "a " * 500])
def test_any_text_is_judged(engine, text):
    assert len(engine.problems([text])) == 1


def test_three_dots_are_no_fault_of_grammar():
    import lt_py

    sentence = "He waited... and then he left."
    assert [match["rule_id"] for match in lt_py.Engine("en-US").check(sentence)] == ["EN_ELLIPSIS"]
    assert found(open_engine("lingotweaker"), sentence) == []


def test_harper_minds_no_spelling_and_no_style():
    import harper

    sentence = "It was a very cold mornning."
    kinds = {lint.lint_kind for lint in harper.Linter().lint(sentence)}
    assert {"Spelling", "Enhancement"} <= kinds
    assert found(open_engine("harper"), sentence) == []


def test_harper_alone_misses_a_doubled_word_that_our_rule_finds():
    import harper

    sentence = "He Drinks drinks tea, and that that we had had was cold."
    kinds = [lint.lint_kind for lint in harper.Linter().lint("He drinks drinks tea.")]
    assert kinds == []
    assert found(open_engine("harper"), sentence).count("Drinks drinks") == 1
    doubled = [
        problem.rule == "doubled word" for problem in open_engine("harper").problems([sentence])[0]
    ]
    assert sum(doubled) == 1


def test_an_engine_is_started_once_and_says_its_version(engine):
    assert open_engine(engine.name) is engine
    assert ENGINES[engine.name] is type(engine)
    assert engine.version[0].isdigit()
    assert "+" in engine.version  # of the data, or of our own rule


def test_the_registered_engines_are_these():
    assert list(ENGINES) == ["harper", "languagetool", "lingotweaker"]
    with pytest.raises(UnknownNameError, match="did you mean 'harper'"):
        open_engine("harpr")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("lingotweaker", "lt_py", "text"),
        ("lingotweaker", "lingotweaker_data_en", "text"),
        ("harper", "harper", "harper"),
        ("languagetool", "language_tool_python", "languagetool"),
    ],
)
def test_a_missing_engine_is_refused_with_what_to_install(monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError) as refused:
        open_engine.__wrapped__(name)
    assert f"pip install 'parallelbench[{extra}]'" in str(refused.value)
    other = "harper" if name != "harper" else "lingotweaker"
    assert f"grammar={other}" in str(refused.value)


# LanguageTool, at a server that speaks as its own does.


class _LanguageTool(BaseHTTPRequestHandler):
    """Finds fault with every "go", and with nothing else."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._say([{"name": "English (US)", "code": "en", "longCode": "en-US"}])

    def do_POST(self):
        from urllib.parse import parse_qs

        length = int(self.headers["Content-Length"])
        text = parse_qs(self.rfile.read(length).decode())["text"][0]
        # Offsets count UTF-16 units, as Java does.
        place = len(text[: text.find("go")].encode("utf-16-le")) // 2
        match = {
            "message": "Use goes.",
            "shortMessage": "",
            "replacements": [{"value": "goes"}],
            "offset": place,
            "length": 2,
            "context": {"text": text, "offset": place, "length": 2},
            "sentence": text,
            "type": {"typeName": "Other"},
            "rule": {
                "id": "HE_VERB_AGR",
                "description": "",
                "issueType": "grammar",
                "category": {"id": "GRAMMAR", "name": "Grammar"},
            },
            "ignoreForIncompleteSentence": False,
            "contextForSureMatch": 0,
        }
        software = {"name": "LanguageTool", "version": "6.6", "apiVersion": 1}
        self._say({"software": software, "matches": [match] if "go" in text else []})

    def _say(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def language_tool():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _LanguageTool)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_languagetool_is_asked_at_the_server_that_the_variable_names(monkeypatch):
    with language_tool() as address:
        monkeypatch.setenv(SERVER_VARIABLE, address)
        engine = open_engine.__wrapped__("languagetool")
        assert engine.version == "6.6"
        assert found(engine, "🙂 In the evening she go home.") == ["go"]
        assert engine.problems(["She walks home."]) == [[]]
    with pytest.raises(EngineError, match="LanguageTool stopped answering"):
        engine.problems(["She walks home."])


def test_a_server_that_does_not_answer_is_refused(monkeypatch):
    monkeypatch.setenv(SERVER_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(EngineError, match="is not a LanguageTool server that answers"):
        open_engine.__wrapped__("languagetool")


def test_languagetool_is_never_downloaded(monkeypatch, tmp_path):
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    monkeypatch.setenv("LTP_PATH", str(tmp_path))
    with pytest.raises(EngineError, match="set LANGUAGETOOL_URL to the address of a server"):
        open_engine.__wrapped__("languagetool")
    assert not any(tmp_path.rglob("*.jar"))
