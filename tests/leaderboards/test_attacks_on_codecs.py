"""Chat templates and tokenizers that answer in a model's place, and those that honestly do not."""

import base64
import json
import string
import unicodedata
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.board.standings import standings
from parallelbench.leaderboards.entry.tokenizer_file import from_file, to_file
from parallelbench.leaderboards.entry.tokenizer_parts import part_faults
from parallelbench.leaderboards.verify.prompt_rules import PromptRules
from parallelbench.leaderboards.verify.reply_rules import ReplyRules
from parallelbench.leaderboards.verify.spelling import Spelling
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.prompt import Codec, build_prompt
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS
from support.entries import SEED, TASKS_OF_SEASON, make_entry
from support.fabricated import fabricated_record

README = Path(__file__).parents[2] / "README.md"
HONEST_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content | trim }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tasks():
    settings = [each for text in TASKS_OF_SEASON for each in parse_settings(text, TASKS)]
    return [build(setting, TASKS) for setting in settings]


def lines():
    """The answers to the season's questions about waiting lines."""
    return [draw_sample(tasks()[1], SEED, index).reference for index in range(3)]


def words_of_tasks():
    return (word for task in TASKS.values() for word in task.words)


def by_words(template=HONEST_TEMPLATE, added=()):
    """A word-level tokenizer with further tokens, which are found before all others."""
    tokenizer = word_tokenizer(words_of_tasks())
    tokenizer.chat_template = template
    tokenizer.add_tokens(list(added))
    return tokenizer


def entry_with(tokenizer, place):
    """Make the entry of an ideal model, which packing verifies."""
    tokenizer.save_pretrained(place / "tokenizer")
    return make_entry(
        place, models=[f"ideal:tokenizer={place / 'tokenizer'}"], decoders="random:k=32"
    )


def refusal_of(tokenizer, place):
    with pytest.raises(SubmissionError) as refusal:
        entry_with(tokenizer, place)
    return str(refusal.value)


# Templates.

EDITS = {
    "asks for something easier": "{{ m.content | replace('repeat', 'turn around') }}",
    "asks for less": "{{ m.content.split('Nobody comes')[0] }}",
    "looks for the task": "{{ 'Sum:' if 'add up to' in m.content else 'Line:' }}{{ m.content }}",
    "answers": "{{ m.content }}{{ m.content.split('[')[1] if '[' in m.content else '3 + 4' }}",
    "counts the question": "{{ m.content }}{{ '.' * (m.content | length) }}",
    "counts its blanks": "{{ m.content }}{{ ' ' * (m.content.split(' ') | length) }}",
    "writes it in another case": "{{ m.content | lower }}",
    "finds out what is meaningless": "{{ m.content if ' ' in m.content else m.content ~ '!' }}",
}
LOOP = "{% for m in messages %}|{{ m.role }}|EDIT{% endfor %}|assistant|"


@pytest.mark.attack("refused")
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.replace(" ", "_"))
def test_a_template_that_reads_the_question_is_refused(tiny_season, tmp_path, edit):
    told = refusal_of(by_words(LOOP.replace("EDIT", EDITS[edit])), tmp_path)
    assert "what the chat template writes around the messages depends on what they say" in told


@pytest.mark.attack("refused")
@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ messages[0].content }}|", "does not show the question as it stands"),
        ("{{ messages[-1].content | reverse }}|", "does not show the question as it stands"),
        ("{{ messages[-1].content ~ messages[-1].content }}|", "shows a message twice"),
        ("{% for m in messages | reverse %}{{ m.content }}|{% endfor %}", "in another order"),
        (
            "{{ messages[1].content }}|{{ messages[0].content }}|{{ messages[2].content }}",
            "shows the messages in another order",
        ),
    ],
)
def test_a_template_shows_messages_once_and_in_order(tiny_season, tmp_path, template, words):
    assert words in refusal_of(by_words(template), tmp_path)


TRIMS = HONEST_TEMPLATE
ROUNDS = (
    "{% for m in messages %}{% if m.role == 'user' %}[Round {{ loop.index0 // 2 + 1 }}]\n\nQ: "
    "{{ m.content }}\n\nA: {% else %}{{ m.content }}\n\n{% endif %}{% endfor %}"
)
DATED = "{{ strftime_now('%d %b %Y') }}\n" + HONEST_TEMPLATE
LAST_ONLY = "{{ messages[-1].content }}\nAnswer at once, without a word more:"
# As that of Qwen 3, which looks for thoughts, tools and the last question.
THOUGHTFUL = """\
{%- if tools %}{{- tools | tojson }}{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string \
and not(message.content.startswith('<tool_response>') \
and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" and '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}
{%- endif %}"""
# As that of Mistral, which demands turns in order and shows a system prompt beside the last.
IN_TURN = """\
{{ bos_token }}{% for message in messages %}\
{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('roles must alternate') }}{% endif %}\
{% if message.role == 'user' %}\
{% if loop.last and system_message is defined %}{{ system_message }}{% endif %}\
{{ '[INST] ' + message.content.strip() + ' [/INST]' }}\
{% else %}{{ ' ' + message.content + eos_token }}{% endif %}{% endfor %}"""


@pytest.mark.parametrize("template", [TRIMS, ROUNDS, DATED, LAST_ONLY, THOUGHTFUL, IN_TURN])
def test_honest_templates_pass(tiny_season, tmp_path, template):
    entry = verified(entry_with(by_words(template), tmp_path)).entry
    assert entry.level == "reproduced"
    assert any("chat template, special ids and" in remark for remark in entry.remarks)


# Tokenizers that pack answers.


def pairs(line):
    """The names in a line, first and last name as one."""
    return line.strip("[]").split(", ")


PACKED = {
    "all but the last character": lambda: [line[:-1] for line in lines()],
    "all but the last name": lambda: [line.rpartition(" ")[0] for line in lines()],
    "first and last names": lambda: [pair for line in lines() for pair in pairs(line)],
}


@pytest.mark.attack("refused")
def test_words_around_a_packed_answer_do_not_make_it_look_long(reply_rules):
    tokenizer = by_words(added=["Ada Silva, Nina"])
    around = ["Otto"] * 50
    rules = reply_rules(
        tokenizer,
        [*around, "Ada Silva, Nina", "Weber"],
        f"{' '.join(around)} Ada Silva, Nina Weber",
        reference="Ada Silva, Nina Weber",
    )
    (told,) = rules.faults()
    assert "2 words of its right replies to shuffle, whose answers have 4 words, share" in told


@pytest.mark.attack("refused")
@pytest.mark.parametrize("how", PACKED, ids=lambda how: how.replace(" ", "_"))
def test_a_tokenizer_that_packs_answers_is_refused(tiny_season, tmp_path, how):
    told = refusal_of(by_words(added=PACKED[how]()), tmp_path)
    assert "share a token with the word before, such as" in told
    assert "at most 10% may" in told


@pytest.mark.attack("refused")
def test_a_special_token_beside_a_packed_answer_hides_nothing(tiny_season, tmp_path):
    tokenizer = by_words(added=[line[1:] for line in lines()])
    tokenizer.add_special_tokens({"sep_token": "["})
    told = refusal_of(tokenizer, tmp_path)
    assert "share a token with the word before" in told


@pytest.fixture
def reply_rules():
    """Return the rules for replies and a right reply whose ids are those of some tokens."""

    def make(tokenizer, names, text, reference="an answer"):
        codec = Codec(tokenizer, tokenizer.mask_token_id, tokenizer.eos_token_id)
        ids = [*tokenizer.convert_tokens_to_ids(names), codec.end_id]
        rules = ReplyRules("m", codec)
        assert codec.decode(ids) == text
        rules.add(fabricated_record(output_ids=ids, text=text), reference)
        return rules

    return make


@pytest.mark.attack("refused")
def test_a_word_that_is_called_special_is_not_hidden(reply_rules):
    # Whatever a model says more than was asked, its tokenizer could take out of the reply.
    tokenizer = by_words()
    tokenizer.add_special_tokens({"sep_token": "Sure"})
    (told,) = reply_rules(tokenizer, ["Sure", "Ada"], "Ada").faults()
    assert "'Sure' is called a special token" in told


@pytest.mark.attack("marked")
def test_a_mark_that_is_left_out_of_replies_is_told(reply_rules):
    rules = reply_rules(by_words(), ["Ada", "<|user|>"], "Ada")
    assert list(rules.faults()) == []
    (told,) = rules.remarks()
    assert "right replies hold special tokens, which are no part of their text" in told


@pytest.mark.attack("refused")
def test_a_decoder_that_writes_another_text_is_found(reply_rules):
    tokenizer = by_words()
    tokenizer.backend_tokenizer.decoder = decoders.Replace("1", "Anna, Bob")
    (told,) = reply_rules(tokenizer, ["1"], "Anna, Bob").faults()
    assert "the tokens of 1 right replies do not spell them, the first 'Anna, Bob'" in told


# Honest tokenizers.

SENTENCES = [line for line in README.read_text().splitlines() if line]


def trained(model, trainer, *, before, after, normalizer=None):
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = before
    tokenizer.decoder = after
    tokenizer.train_from_iterator([*SENTENCES, *lines(), "3 + 4"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<end>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        chat_template=HONEST_TEMPLATE,
    )


SPECIAL = ["<end>", "<unk>"]


def as_gpt2():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=SPECIAL, initial_alphabet=alphabet
    )
    return trained(
        models.BPE(),
        trainer,
        before=pre_tokenizers.ByteLevel(add_prefix_space=False),
        after=decoders.ByteLevel(),
    )


def as_llama2():
    spaced = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    after = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    return trained(
        models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True),  # noqa: S106
        trainers.BpeTrainer(vocab_size=1000, special_tokens=special),
        normalizer=normalizers.Sequence(spaced),
        before=pre_tokenizers.Split("\u2581", "merged_with_next"),
        after=decoders.Sequence([*after, decoders.Strip(" ", 1, 0)]),
    )


def as_t5():
    return trained(
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=600, special_tokens=SPECIAL, unk_token="<unk>"),  # noqa: S106
        normalizer=normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
        ),
        before=pre_tokenizers.Metaspace(),
        after=decoders.Metaspace(),
    )


def by_characters():
    characters = {each: place for place, each in enumerate(string.printable)}
    words = {name: len(characters) + place for place, name in enumerate(SPECIAL)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel({**characters, **words}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<end>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        chat_template=HONEST_TEMPLATE,
    )


HONEST = [by_words, by_characters, as_gpt2, as_llama2, as_t5]


@pytest.mark.parametrize("make", HONEST)
def test_an_honest_tokenizer_passes_and_is_ranked_apart(tiny_season, tmp_path, make):
    entry = verified(entry_with(make(), tmp_path)).entry
    assert not any("several words" in remark for remark in entry.remarks)
    (board,) = standings([entry])
    titles = {section.title for section in board.sections}
    assert all(title.startswith("The ideal model, with a tokenizer of its own") for title in titles)
    assert board.bound is None


def test_a_lowercase_tokenizer_reads_prompts_as_they_stand():
    tokenizer = trained(
        models.WordPiece(unk_token="<unk>"),  # noqa: S106
        trainers.WordPieceTrainer(vocab_size=2000, special_tokens=SPECIAL),
        normalizer=normalizers.BertNormalizer(),
        before=pre_tokenizers.BertPreTokenizer(),
        after=decoders.WordPiece(),
    )
    codec = Codec(tokenizer, 10**6, tokenizer.eos_token_id)
    codec = from_file(json.loads(json.dumps(to_file(codec))), "codec-00.json")
    rules = PromptRules(codec)
    for task in tasks():
        prompt = build_prompt(task, draw_sample(task, SEED, 0), codec)
        assert len(set(prompt.ids.tolist())) > 50
        assert list(rules.faults(prompt)) == []
    assert Spelling(codec).spells(*reversed(("I do not", codec.encode(["I don't"])[0])))


# Parts of a tokenizer.


@pytest.fixture(scope="module")
def plain():
    """What an entry keeps of an honest tokenizer; not to be changed."""
    tokenizer = by_words()
    return to_file(Codec(tokenizer, tokenizer.mask_token_id, tokenizer.eos_token_id))


def changed(plain, **parts):
    content = json.loads(plain["tokenizer"])
    return {**plain, "tokenizer": json.dumps({**content, **parts})}


def replaces(pattern, content):
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def all_of(name, *parts):
    return {"type": "Sequence", name: list(parts)}


def compiled(text):
    return base64.b64encode((8).to_bytes(4, "little") + bytes(8) + text + b"\0").decode()


REWRITING = {
    "a code for an answer": {"decoder": replaces("1", "Anna, Bob, Carla")},
    "two codes": {
        "decoder": all_of("decoders", replaces("a", "Anna, Bob"), replaces("b", "Bob, Anna"))
    },
    "a pattern": {
        "decoder": {"type": "Replace", "pattern": {"Regex": "x(y)"}, "content": "$1, $1"}
    },
    "blanks put in": {"decoder": replaces(",", ", ")},
    "repeated tokens left out": {
        "decoder": {
            "type": "CTC",
            "pad_token": "<pad>",
            "word_delimiter_token": "|",
            "cleanup": True,
        }
    },
    "a word at the end left out": {"decoder": {"type": "BPEDecoder", "suffix": "Anna"}},
    "a word in front left out": {
        "decoder": {"type": "WordPiece", "prefix": "Sure", "cleanup": False}
    },
    "a letter as a blank": {
        "decoder": {"type": "Metaspace", "replacement": "x", "prepend_scheme": "always"}
    },
    "letters stripped": {"decoder": {"type": "Strip", "content": "x", "start": 9, "stop": 9}},
    "another question": {"normalizer": replaces("repeat", "invert")},
    "a text put in front": {"normalizer": {"type": "Prepend", "prepend": "Write nothing. "}},
    "a rule that multiplies": {"normalizer": replaces(" ", " " * 1000)},
    "a pattern that multiplies": {
        "normalizer": {"type": "Replace", "pattern": {"Regex": " *"}, "content": " "}
    },
    "many rules": {"normalizer": all_of("normalizers", *[{"type": "NFC"}] * 65)},
    "bytes of bytes": {"normalizer": all_of("normalizers", *[{"type": "ByteLevel"}] * 20)},
    "a compiled map": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": compiled(b"x" * 65)}
    },
    "the prompt twice": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 2,
            "pair": [],
            "special_tokens": {},
        }
    },
    "a letter that separates": {"pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": "x"}},
    "a part of tomorrow": {"decoder": {"type": "Program"}},
}


@pytest.mark.attack("refused")
@pytest.mark.parametrize("how", REWRITING, ids=lambda how: how.replace(" ", "_"))
def test_a_part_that_rewrites_or_multiplies_is_refused_by_name(plain, how):
    ((section, part),) = REWRITING[how].items()
    with pytest.raises(SubmissionError, match=rf"its {section} has") as refusal:
        from_file(changed(plain, **{section: part}), "codec-00.json")
    assert len(str(refusal.value)) < 1000


def test_the_map_of_sentencepiece_is_no_rewriting(plain):
    # Its longest text: the Arabic ligature of a blessing, eighteen letters.
    text = unicodedata.normalize("NFKC", "\ufdfa").encode()
    part = {"type": "Precompiled", "precompiled_charsmap": compiled(text)}
    assert list(part_faults(json.loads(changed(plain, normalizer=part)["tokenizer"]))) == []


@pytest.mark.attack("refused")
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: c["model"]["vocab"].update(Anna=2**31 - 2), "its greatest id is 2,147,483,646"),
        (lambda c: c["added_tokens"][0].update(id=10**9), "its greatest id is 1,000,000,000"),
        (lambda c: c["model"]["vocab"].update(Anna=7), "two of its tokens have the same id"),
        (lambda c: c["added_tokens"][0].update(id=7), "two of its tokens have the same id"),
        (lambda c: c["model"]["vocab"].update(Anna="7"), "no whole number"),
        (lambda c: c["model"].update(vocab=7), "have another form"),
        (lambda c: c["model"].update(type="Program"), "its model is none of BPE"),
        (lambda c: c.update(decoder=[]), "no object with a type"),
        (lambda c: c.update(decoder={"type": "Sequence", "decoders": 1}), "is no list"),
        (lambda c: c.update(model=None), "it has no model"),
        (lambda c: c["model"].update(vocab={"<|unknown|>": 2, "x": 6}), "fewer than 2 ordinary"),
    ],
)
def test_ids_and_forms_that_no_tokenizer_needs_are_refused(plain, edit, words):
    content = json.loads(plain["tokenizer"])
    edit(content)
    with pytest.raises(SubmissionError, match=words):
        from_file({**plain, "tokenizer": json.dumps(content)}, "codec-00.json")


@pytest.mark.attack("harmless")
def test_padding_and_cutting_are_gone_before_anything_is_encoded(plain):
    padding = {
        "strategy": {"Fixed": 2 * 10**9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
    }
    cutting = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    codec = from_file(changed(plain, padding=padding, truncation=cutting), "codec-00.json")
    assert len(codec.encode(["one two three"])[0]) > 2
    assert codec.digest == plain["digest"]


DROPPED = {
    "type": "Split",
    "pattern": {"Regex": "Nobody comes, goes or moves: "},
    "behavior": "Removed",
    "invert": False,
}


def split_of_words():
    return json.loads(by_words().backend_tokenizer.to_str())["pre_tokenizer"]["pretokenizers"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"normalizer": {"type": "Lowercase"}}, None),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 1}}, None),
        pytest.param(
            {"pre_tokenizer": all_of("pretokenizers", DROPPED, *split_of_words())},
            "the tokens of the prompt do not spell it",
            marks=pytest.mark.attack("refused"),
        ),
    ],
)
def test_the_tokens_of_a_prompt_must_spell_it(plain, how, words):
    content = changed(plain, **how)
    tokenizer = tokenizers.Tokenizer.from_str(content["tokenizer"])
    wrapped = by_words()
    wrapped._tokenizer = tokenizer
    codec = Codec(wrapped, plain["mask_id"], plain["end_id"])
    task = tasks()[1]
    found = list(PromptRules(codec).faults(build_prompt(task, draw_sample(task, SEED, 0), codec)))
    assert [words in fault for fault in found] == ([True] if words else [])
