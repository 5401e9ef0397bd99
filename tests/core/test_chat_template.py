"""Chat templates: one text on any day, no draws, and errors in the template's own words."""

import datetime as dt
import hashlib
import itertools
import json

import pytest

from parallelbench.cli.program import main
from parallelbench.errors import ChatTemplateError, CheckpointError
from parallelbench.leaderboards.entry.tokenizer_file import from_file, to_file
from parallelbench.models.hf import HuggingFace
from parallelbench.models.mini import FOLDER
from parallelbench.prompt import chat_template
from parallelbench.prompt.chat_template import asks_for_date, render_chat
from parallelbench.run.rundir import RunDirectory
from parallelbench.task import Message

CHAT = [Message("user", "one"), Message("assistant", "two"), Message("user", "three")]
DATE = "{{ strftime_now('%d %b %Y %H:%M:%S.%f') }}{{ messages[-1].content }}"
ONLY_USERS = (
    "{% for m in messages %}{% if m.role != 'user' %}"
    "{{ raise_exception('Only user turns are supported!') }}{% endif %}{{ m.content }}{% endfor %}"
)


def written(template, folder):
    path = folder / "template.jinja"
    path.write_text(template)
    return path


def run(template, out, *options, tasks="choices/city"):
    model = f"hf:{FOLDER}"
    command = ["run", "--model", model, "--template", str(template), "--tasks", tasks]
    return main([*command, "--decoders", "confidence:k=32", *options, "--out", str(out)])


@pytest.fixture
def moving_clock(monkeypatch):
    """Every look at the clock finds another day, where transformers takes the time from."""
    from transformers.utils import chat_template_utils

    days = itertools.count()

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 1, tzinfo=tz) + dt.timedelta(days=next(days))

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    return Clock


def test_a_template_that_asks_for_the_date_is_told_one_for_good(moving_clock):
    assert moving_clock.now() != moving_clock.now()
    first = render_chat(DATE, CHAT, {})
    chat_template._compiled.cache_clear()
    assert first == render_chat(DATE, CHAT, {}) == "01 Jan 2026 00:00:00.000000three"
    assert asks_for_date(DATE)
    assert not asks_for_date("{{ messages }}")


def test_a_run_and_its_continuation_read_the_same_prompts(tmp_path, capsys):
    template = written(DATE, tmp_path)
    assert run(template, tmp_path / "out", "--samples", "3") == 0
    remark = f"the chat template of {template} asks for today's date; it gets 2026-01-01"
    assert capsys.readouterr().err.count(remark) == 1
    directory = RunDirectory.open(tmp_path / "out")
    (facts,) = directory.environments()[0]["models"].values()
    assert facts["chat_template_date"] == "2026-01-01"
    whole = {record.key: record.sample.prompt_digest for record in directory.records()}
    (records,) = (tmp_path / "out").glob("records-*.jsonl")
    records.write_text(records.read_text().splitlines(keepends=True)[0])
    chat_template._compiled.cache_clear()
    assert run(template, tmp_path / "out", "--samples", "3") == 0
    again = RunDirectory.open(tmp_path / "out").records()
    assert {record.key: record.sample.prompt_digest for record in again} == whole


def test_a_verifier_reads_what_the_run_read(moving_clock, tmp_path):
    template = str(written(DATE, tmp_path))
    codec = HuggingFace(path=str(FOLDER), template=template).open_codec()
    kept = json.loads(json.dumps(to_file(codec)))
    text = codec.render(CHAT)
    chat_template._compiled.cache_clear()
    again = from_file(kept, "codec-00.json")
    assert again.render(CHAT) == text
    assert again.template_date == "2026-01-01"
    # Before there was one date for all, records of such a template had other prompts.
    asked = [codec.tokenizer.backend_tokenizer.to_str(), codec.mask_id, codec.end_id, DATE]
    asked += [dict(codec.template_arguments), sorted(codec.stop_ids)]
    assert codec.digest != hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def test_a_template_without_a_date_is_told_none():
    model = HuggingFace(path=str(FOLDER))
    assert model.remark([]) is None
    assert model.open_codec().template_date is None


@pytest.mark.parametrize(
    "draw",
    ["{{ ['a', 'b'] | random }}", "{{ messages | map('random') | list }}", "{{ lipsum() }}"],
)
def test_a_template_that_draws_at_random_is_refused(draw, tmp_path):
    template = str(written("{{ messages[-1].content }}" + draw, tmp_path))
    with pytest.raises(
        CheckpointError, match="uses random numbers, but every run must give the same"
    ):
        HuggingFace(path=str(FOLDER), template=template).open_codec()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (ONLY_USERS, "a chat of user, assistant, user: TemplateError: Only user turns"),
        ("{% for m in messages %}", "TemplateSyntaxError: Unexpected end of template"),
        ("{{ messages[0].nothing.more }}", "UndefinedError: .* has no attribute 'nothing'"),
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ raise_exception('two\nlines') }}", "TemplateError: two lines$"),
    ],
)
def test_an_error_of_a_template_is_one_sentence_in_its_own_words(template, words):
    with pytest.raises(ChatTemplateError, match=words) as told:
        render_chat(template, CHAT, {})
    assert "\n" not in str(told.value)


def test_a_template_that_refuses_a_turn_ends_a_run_before_it_starts(tmp_path, capsys):
    template = written(ONLY_USERS, tmp_path)
    assert run(template, tmp_path / "out", "--samples", "1") == 2
    assert not (tmp_path / "out").exists()
    told = capsys.readouterr().err
    assert "choices/city: the chat template cannot render a chat of user, assistant, user" in told
    assert "Only user turns are supported!; give another template with --template FILE" in told
    assert "without worked examples (shots=0)" in told
    assert "Traceback" not in told
    assert main(["doctor", "--model", f"hf:{FOLDER}", "--template", str(template)]) == 2
    assert "Only user turns are supported!" in capsys.readouterr().err
    assert run(template, tmp_path / "out", "--samples", "1", tasks="choices/city:shots=0") == 0


def test_a_template_that_leaves_the_question_out_is_refused(tmp_path):
    # As those for messages in parts do, where an undefined name is an empty text.
    template = str(written("<|user|>{{ messages[0].content[0].text }}", tmp_path))
    with pytest.raises(CheckpointError, match="writes a prompt without the question"):
        HuggingFace(path=str(FOLDER), template=template).open_codec()


def test_templates_are_rendered_as_transformers_renders_them():
    codec = HuggingFace(path=str(FOLDER)).open_codec()
    chat = [{"role": message.role, "content": message.content} for message in CHAT]
    for source in (
        codec.tokenizer.chat_template,
        "{{ eos_token }}{% generation %}\n  {{ messages | tojson }}{% endgeneration %}\n  x",
        "  {% if tools is none and add_generation_prompt and not thinking %} x {% endif %}\n",
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m }}{% endfor %}",
    ):
        expected = codec.tokenizer.apply_chat_template(
            chat,
            tokenize=False,
            add_generation_prompt=True,
            chat_template=source,
            **codec.template_arguments,
        )
        variables = {**codec.tokenizer.special_tokens_map, **codec.template_arguments}
        assert render_chat(source, CHAT, variables) == expected
