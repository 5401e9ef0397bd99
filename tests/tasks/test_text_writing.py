"""Text writing: the texts that ship, the scores by hand, and who can be asked."""

import dataclasses
import itertools
import json
import math
import re
import shutil
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench import evaluate
from parallelbench.cli.program import main
from parallelbench.errors import (
    CanvasError,
    EngineError,
    FieldError,
    NotEnumerableError,
    RecordsError,
    RunFileError,
    SourceError,
)
from parallelbench.models.ideal import Ideal
from parallelbench.models.mini import Mini
from parallelbench.record_line import from_line, to_line
from parallelbench.run.merge import merge
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from parallelbench.run.shard import Shard
from parallelbench.setting import parse_settings
from parallelbench.task import TASKS, sample_rng
from parallelbench.tasks.grammar import open_engine
from parallelbench.tasks.text_scores import (
    _bertscorer,
    bertscore_f1,
    engine_versions,
    one_minus_bleu,
    rouge_l,
    share_of_substrings,
    share_of_words,
    words_of,
)
from parallelbench.tasks.text_sources import PARAPHRASES, SAMSUM, read_texts, read_word_sets
from parallelbench.tasks.text_writing import Summarization
from parallelbench.training.data import make_example
from support.checkpoints import write_checkpoint
from support.fabricated import altered

TEXT = TASKS.matching("text_writing/*")
LEVELS = ("easy", "medium", "hard")
# Surrogates and control characters included: a decoder may write any token anywhere.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def draw(name, index=0, seed=0, **fields):
    task = TASKS[f"text_writing/{name}"](**fields)
    return task, task.draw(sample_rng(seed, task.name, index), index)


def asked(sample):
    return sample.messages[-1].content


# The texts that ship.


@pytest.mark.parametrize("name", TEXT)
def test_a_task_has_a_hundred_samples_whose_references_are_right(name):
    task = TASKS[name]()
    questions = set()
    for index in range(100):
        sample = task.draw(sample_rng(0, name, index), index)
        marks = task.score(sample, sample.reference)
        assert marks.lenient == 1, sample.reference
        questions.add(asked(sample))
    assert len(questions) == task.count_samples() == 100


@pytest.mark.parametrize("level", LEVELS)
def test_a_reference_holds_the_four_words_of_its_set(level):
    sets = read_word_sets(level)
    assert len(sets) == 100
    for words, sentence in sets:
        assert share_of_words(words[:4], sentence) == 1
        assert len(set(words)) == 7
        assert all(re.fullmatch("[a-z]+", word) for word in words)


def test_no_four_words_are_asked_for_twice():
    asked_for = [frozenset(words[:4]) for level in LEVELS for words, _ in read_word_sets(level)]
    assert len(set(asked_for)) == 300


def test_every_paraphrase_is_grammatical_and_no_copy():
    texts = read_texts("own", PARAPHRASES, "lingotweaker")
    for text, references in texts:
        assert len(set(references)) == 3
        assert open_engine("lingotweaker").problems([text, *references]) == [[]] * 4, text
        assert all(words_of(text) != words_of(each) for each in references)
        assert all(one_minus_bleu(text, each) > 0.1 for each in references), text


def test_a_summary_is_one_sentence_shorter_than_its_dialogue():
    texts = read_texts("own", SAMSUM, "lingotweaker")
    assert open_engine("lingotweaker").problems([text for text, _ in texts]) == [[]] * 100
    for text, (summary,) in texts:
        turns = text.splitlines()
        assert len(turns) >= 4
        assert all(re.match(r"[A-Z]\w+: \S", turn) for turn in turns), text
        assert summary.endswith(".")
        assert summary not in text
        assert len(words_of(summary)) < len(words_of(text))


def test_the_texts_are_not_made_by_template():
    sentences = [summary for _, (summary,) in read_texts("own", SAMSUM, "lingotweaker")]
    sentences += [text for text, _ in read_texts("own", PARAPHRASES, "lingotweaker")]
    sentences += [sentence for level in LEVELS for _, sentence in read_word_sets(level)]
    assert len(set(sentences)) == 500
    starts = [" ".join(words_of(sentence)[:4]) for sentence in sentences]
    assert max(map(starts.count, starts)) <= 4


# What is asked.


@pytest.mark.parametrize("name", TEXT)
def test_a_task_asks_without_examples_on_a_canvas_of_64_tokens(name):
    task = TASKS[name]()
    sample = task.draw(sample_rng(0, name, 0), 0)
    assert (task.shots, task.canvas_length, task.grammar) == (0, 64, "lingotweaker")
    assert [message.role for message in sample.messages] == ["user"]
    assert len(task.templates) >= 3
    for template in task.templates:
        question = asked(dataclasses.replace(task, template=template).draw(sample_rng(0, "", 0), 0))
        given_text = sample.facts.get("text", ", ".join(sample.facts.get("words", ())))
        assert given_text in question
        assert "{" not in question


@pytest.mark.parametrize("name", TEXT)
@given(index=st.integers(0, 250), seed=st.integers(0, 3))
@settings(max_examples=30)
def test_an_example_never_shows_the_text_that_is_asked_for(name, index, seed):
    task = TASKS[name](shots=2)
    sample = task.draw(sample_rng(seed, name, index), index)
    examples = [message.content for message in sample.messages if message.role == "user"][:-1]
    assert len(examples) == 2
    assert asked(sample) not in examples


def test_the_number_of_a_sample_decides_its_text():
    _, first = draw("summarization", 7, seed=0)
    _, second = draw("summarization", 7, seed=1)
    assert asked(first) == asked(second) != asked(draw("summarization", 8)[1])


@pytest.mark.parametrize("count", range(1, 8))
def test_fewer_words_are_the_first_of_more(count):
    task, sample = draw("w2s_medium", 11, word_count=count)
    _, all_seven = draw("w2s_medium", 11, word_count=7)
    assert sample.facts["words"] == all_seven.facts["words"][:count]
    held = task.score(sample, sample.reference).parts["words"] == 1
    assert held == (count <= 4)
    assert bool(sample.reference) == (count <= 4)  # absent is absent


def test_nobody_is_trained_on_an_answer_that_is_absent():
    task, sample = draw("w2s_easy", word_count=5)
    with pytest.raises(CanvasError, match="has no right answer to train on"):
        make_example(0, task, sample, Ideal().open().codec)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("word_count=0", "word_count must be 1 to 7 words, got 0"),
        ("word_count=8", "word_count must be 1 to 7 words, got 8"),
        ("word_count=5,shots=1", "there are none for word_count=5; use at most 4 words"),
        ("grammar=harpr", "no grammar engine is called 'harpr'; did you mean 'harper'?"),
    ],
)
def test_a_field_out_of_range_is_refused(fields, message):
    with pytest.raises(FieldError, match=re.escape(message)):
        parse_settings(f"text_writing/w2s_easy:{fields}", TASKS)


def test_another_engine_is_another_task_setting():
    (ours, other) = parse_settings("text_writing/w2s_easy:grammar=lingotweaker|harper", TASKS)
    assert ours.key != other.key
    assert (ours.label, other.label) == (
        "text_writing/w2s_easy",
        "text_writing/w2s_easy:grammar=harper",
    )


# Scores by hand.


@pytest.mark.parametrize(
    ("reply", "whole", "anywhere"),
    [
        ("The cat sat on the mat.", 1, 1),
        ("CAT, mat!", 1, 1 / 2),
        ("A cat's mats.", 0, 1),
        ("In what format is this catalogue?", 0, 1),
        ("The cat slept.", 1 / 2, 1 / 2),
        ("", 0, 0),
    ],
)
def test_words_count_whole_or_anywhere(reply, whole, anywhere):
    assert share_of_words(["cat", "mat"], reply) == whole
    assert share_of_substrings(["cat", "mat"], reply) == anywhere


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence():
    # "the cat on mat" is common: 4 of 6 words here, 4 of 5 there.
    precision, recall = 4 / 5, 4 / 6
    expected = 2 * precision * recall / (precision + recall)
    assert rouge_l("The cat sat on the mat.", "the cat on a mat") == pytest.approx(expected)
    assert rouge_l("The cat sat.", "A dog ran!") == 0


def test_bleu_of_a_sentence_is_the_geometric_mean_of_its_precisions():
    # With the full stop 7 tokens: of 1 to 4 words in a row 6/7, 4/6, 2/5 and 1/4 are shared.
    expected = math.prod((6 / 7, 4 / 6, 2 / 5, 1 / 4)) ** (1 / 4)
    found = one_minus_bleu("The cat sat on the mat.", "The cat sat on a mat.")
    assert found == pytest.approx(1 - expected)
    assert one_minus_bleu("The cat sat on the mat.", "The cat sat on the mat.") == 0
    assert one_minus_bleu("The cat sat on the mat.", "Dogs ran away") == 1
    # Of 6 tokens, all shared, one is missing, for which it pays.
    short = one_minus_bleu("The cat sat on the mat.", "The cat sat on the mat")
    assert short == pytest.approx(1 - math.exp(-1 / 6))


@pytest.mark.parametrize(
    ("reply", "strict", "lenient", "problem", "parts"),
    [
        ("She put sugar into her cup of tea with a spoon.", 1, 1, None, (1, 1, 1, 1)),
        ("She puts sugars into her cups of tea with a spoon.", 0, 1, None, (1, 1 / 2, 1, 1)),
        ("She has a spoon.", 0, 1, None, (1, 1 / 4, 1 / 4, 0)),
        ("She put put sugar into a cup of tea, spoon.", 0, 0, "ungrammatical", (0, 1, 1, 0)),
        (" ...\n", 0, 0, "empty", (0, 0, 0, 0)),
        ("", 0, 0, "empty", (0, 0, 0, 0)),
    ],
)
def test_a_sentence_with_words_is_marked_for_grammar_and_strictly_for_whole_words(
    reply, strict, lenient, problem, parts
):
    task, sample = draw("w2s_easy", 0)
    assert sample.facts["words"] == ["cup", "tea", "spoon", "sugar"]
    marks = task.score(sample, reply)
    assert (marks.strict, marks.lenient, marks.failure) == (strict, lenient, problem)
    names = ("grammar", "words", "words_substring", "sentence_to_words_score")
    assert marks.parts == dict(zip(names, parts, strict=True))
    assert task.scores == names


@pytest.mark.parametrize(("fault", "grammar"), [("", 1), (" She go home.", 0)])
def test_a_summary_score_is_rouge_l_times_grammar(fault, grammar):
    task, sample = draw("summarization", 0)
    reply = f"Milan will bring Nora the spare key.{fault}"
    marks = task.score(sample, reply)
    rouge = rouge_l(sample.reference, reply)
    assert 0 < rouge < 1
    assert marks.parts == {"grammar": grammar, "rouge_l": rouge, "summary_score": rouge * grammar}
    assert tuple(marks.parts) == task.scores
    assert (marks.strict, marks.lenient) == (rouge * grammar, grammar)


def test_of_several_references_the_nearest_summary_counts():
    task, sample = draw("summarization", 0)
    facts = {**sample.facts, "references": ["Dogs ran.", "A cat sat."]}
    marks = task.score(dataclasses.replace(sample, facts=facts), "A cat sat.")
    assert marks.parts["rouge_l"] == 1


def test_a_copy_is_no_paraphrase_however_grammatical():
    task, sample = draw("paraphrasing", 0)
    copied = task.score(sample, sample.facts["text"])
    said = task.score(sample, sample.reference)
    assert (copied.strict, copied.lenient) == (0, 1)
    assert said.strict == said.parts["one_minus_bleu"] > 0.1
    assert "paraphrase_score" not in said.parts  # absent without BERTScore


def write_bert(folder):
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    own = words_of("the old clock in hall stopped at midnight yes")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *own, "."]
    vocabulary = {word: index for index, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(words), intermediate_size=16, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


def test_with_a_model_the_original_product_is_there(tmp_path):
    folder = str(write_bert(tmp_path))
    task, sample = draw("paraphrasing", 0, bertscore=folder)
    assert task.engines()["bertscore_f1"].endswith(folder)
    parts = task.score(sample, "At midnight the old clock stopped.").parts
    assert tuple(parts) == task.scores
    assert 0 < parts["bertscore_f1"] < 1
    assert parts["paraphrase_score"] == pytest.approx(
        parts["one_minus_bleu"] * parts["bertscore_f1"]
    )
    same = task.score(sample, sample.facts["text"]).parts["bertscore_f1"]
    assert same == pytest.approx(1, abs=1e-5)
    assert task.score(sample, "\ud800 ?").parts["bertscore_f1"] == 0
    (tmp_path / "model.safetensors").unlink()
    shutil.copytree(tmp_path, tmp_path / "broken")
    with pytest.raises(FieldError, match="cannot be used by bert-score"):
        draw("paraphrasing", bertscore=str(tmp_path / "broken"))[0].engines()
    with pytest.raises(FieldError, match="nothing is fetched from a hub"):
        draw("paraphrasing", bertscore="roberta-large")[0].engines()


def write_roberta(folder):
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    torch.manual_seed(0)
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = ByteLevelBPETokenizer()
    told = ["the clock stopped: a clock ended"] * 9
    tokens.train_from_iterator(told, vocab_size=300, special_tokens=marks, show_progress=False)
    tokens.save_model(str(folder))
    RobertaTokenizer.from_pretrained(folder, model_max_length=64).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    places = {"intermediate_size": 16, "max_position_embeddings": 80}
    config = RobertaConfig(vocab_size=tokens.get_vocab_size(), **sizes, **places)
    RobertaModel(config).save_pretrained(folder)
    return folder


def test_bertscore_reads_the_first_word_as_one_that_stands_behind_a_blank(tmp_path):
    from bert_score.utils import sent_encode

    tokenizer = _bertscorer(str(write_roberta(tmp_path)))._tokenizer
    within = sent_encode(tokenizer, "a clock stopped")
    first = sent_encode(tokenizer, "clock stopped")
    assert first[1:] == within[2:]
    assert tokenizer.decode(first[1:-1]) == " clock stopped"
    assert 0 < bertscore_f1(str(tmp_path), "A clock stopped.", "The clock ended.") <= 1


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("the old clock stopped", 0.0),
        ("the old clock stopped here", 1 - (4 * 3 * 2 * 1 / (5 * 4 * 3 * 2)) ** 0.25),
        # No four words in a row are the same, or there are no four words.
        ("the old clock then stopped", 1.0),
        ("the old clock", 1.0),
        ("The Old Clock Stopped", 1.0),
        ("", 1.0),
    ],
)
def test_bleu_is_that_of_a_corpus_and_not_smoothed(reply, score):
    assert one_minus_bleu("the old clock stopped", reply) == pytest.approx(score, abs=1e-9)


def test_rouge_l_stems_words_of_more_than_three_characters():
    assert rouge_l("Two dogs barking", "two dog barked") == 1
    assert rouge_l("ads", "ad") == 0


@given(name=st.sampled_from(TEXT), reply=ANY_TEXT)
@settings(max_examples=60)
def test_any_reply_gets_marks(name, reply):
    task = TASKS[name]()
    marks = task.score(task.draw(sample_rng(0, name, 0), 0), reply)
    assert all(0 <= part <= 1 for part in marks.parts.values())


@pytest.mark.parametrize("name", TEXT)
def test_every_score_of_others_is_told_with_its_release(name):
    told = TASKS[name]().engines()
    assert told["grammar"] == f"lingotweaker {open_engine('lingotweaker').version}"
    assert all(re.search(r" \d+\.\d+\.\d+", version) for version in told.values())
    assert set(told) == {"grammar", "rouge_l", "one_minus_bleu"} & set(TASKS[name].scores)
    if "one_minus_bleu" in told:
        assert told["one_minus_bleu"].endswith(", tok:13a, not smoothed")


@pytest.mark.parametrize(
    ("score", "module", "extra"),
    [
        ("rouge_l", "rouge_score.rouge_scorer", "text"),
        ("one_minus_bleu", "sacrebleu.metrics", "text"),
        ("bertscore_f1", "bert_score", "bertscore"),
    ],
)
def test_a_missing_score_is_refused_with_what_to_install(monkeypatch, score, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError, match=re.escape(f"pip install 'parallelbench[{extra}]'")):
        engine_versions([score])


# The texts of the paper.


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """Let ``datasets`` keep its copies in the test's own folder, and ask no hub."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


DIALOGUES = (
    {"id": "1", "dialogue": "Ann: It is late.\r\nBob: I know.", "summary": "It is late."},
    {"id": "2", "dialogue": "Ann: She go home.", "summary": "She goes home."},
    {"id": "3", "dialogue": "", "summary": "Nothing is said."},
    {"id": "4", "dialogue": "Ann: Where are you?", "summary": "Ann looks for somebody."},
)


def write_samsum(folder, rows=DIALOGUES):
    folder.mkdir()
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "test.jsonl").write_text(lines)
    return folder


@pytest.mark.parametrize("place", ["", "test.jsonl"])
def test_samsum_is_read_from_a_folder_or_a_file_without_faulty_dialogues(no_cache, tmp_path, place):
    source = str(write_samsum(tmp_path / "samsum") / place)
    task, sample = draw("summarization", 0, source=source)
    assert task.count_samples() == 2
    assert "Ann: It is late.\nBob: I know." in asked(sample)
    assert sample.reference == "It is late."
    assert "Where are you?" in asked(draw("summarization", 1, source=source)[1])


def test_the_engine_that_judges_is_the_engine_that_filters(no_cache, tmp_path):
    rows = [{"id": "1", "dialogue": "Ann: Mornning, Bob.", "summary": "They meet."}]
    source = str(write_samsum(tmp_path / "samsum", rows))
    assert draw("summarization", source=source, grammar="harper")[0].count_samples() == 1
    with pytest.raises(SourceError, match="no text in which lingotweaker finds no error"):
        draw("summarization", source=source)


def test_chatgpt_paraphrases_are_read_with_lists_written_as_text(no_cache, tmp_path):
    file = tmp_path / "chatgpt.csv"
    file.write_text(
        "text,paraphrases,category,source\n"
        'How are you today?,"[\'How do you feel today?\', ""How\'s your day?""]",question,quora\n'
    )
    _, sample = draw("paraphrasing", source=str(file))
    assert sample.facts["text"] == "How are you today?"
    assert sample.facts["references"] == ["How do you feel today?", "How's your day?"]


def test_the_first_hundred_clean_texts_are_taken(no_cache, tmp_path):
    rows = [
        {"id": str(number), "dialogue": f"Ann: I see {number} birds.", "summary": "Birds."}
        for number in range(2, 132)
    ]
    source = str(write_samsum(tmp_path / "samsum", rows))
    task, last = draw("summarization", 99, source=source)
    assert task.count_samples() == 100
    assert "I see 101 birds" in asked(last)


def test_a_source_that_cannot_be_had_is_refused(no_cache, tmp_path):
    with pytest.raises(SourceError, match=r"source=nobody/nothing cannot be read.*offline"):
        draw("summarization", source="nobody/nothing")
    with pytest.raises(SourceError, match="it is no local folder or file"):
        draw("summarization", source=str(tmp_path / "nowhere"))
    folder = str(write_samsum(tmp_path / "samsum", [{"text": "Yes.", "summary": "Yes."}]))
    with pytest.raises(SourceError, match="has no column 'dialogue', only text, summary"):
        draw("summarization", source=folder)
    (tmp_path / "a.txt").write_text("Yes.")
    with pytest.raises(SourceError, match=r"a file must end in \.csv"):
        draw("summarization", source=str(tmp_path / "a.txt"))


def test_without_datasets_the_extra_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EngineError, match=re.escape("pip install 'parallelbench[datasets]'")):
        draw("summarization", source="some/where")


def test_a_single_text_has_no_other_for_an_example(no_cache, tmp_path):
    source = str(write_samsum(tmp_path / "samsum", DIALOGUES[:1]))
    with pytest.raises(SourceError, match="shots=1 needs a second text"):
        draw("summarization", source=source, shots=1)


# Who can be asked.


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write_checkpoint("llada", tmp_path_factory.mktemp("checkpoint") / "llada")
    return f"hf:{folder}:device=cpu"


def test_the_ideal_model_is_refused_before_the_run(tmp_path):
    for name in TEXT:
        with pytest.raises(NotEnumerableError, match=f"{name}: the right answers cannot be listed"):
            evaluate(tasks=name, samples=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_oracle_is_refused_before_the_run(model, tmp_path):
    with pytest.raises(RunFileError, match="decoder 'label' must be told the right answers"):
        evaluate(model=model, tasks=TEXT[0], decoders="label", samples=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_more_samples_than_texts_are_refused(model):
    with pytest.raises(RunFileError, match="has 100 different samples, and 101 were requested"):
        evaluate(model=model, tasks=TEXT[0], decoders="random", samples=101)


def test_a_missing_engine_is_told_before_a_model_is_loaded(monkeypatch):
    monkeypatch.delenv("LANGUAGETOOL_URL", raising=False)
    monkeypatch.setitem(sys.modules, "language_tool_python", None)
    with pytest.raises(EngineError, match=re.escape("parallelbench[languagetool]")):
        evaluate(model="hf:no/such/folder", tasks="text_writing/w2s_easy:grammar=languagetool")


def test_mini_says_before_the_run_what_it_was_never_trained_on(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ("--decoders", "random:k=64", "--samples", "1")
    assert main(["run", "--model", "mini", "--tasks", "text_writing/w2s_easy", *small]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert "mini was never trained on text_writing/w2s_easy" in first
    assert Mini().remark([TASKS["waiting_line/copy"]]) is None


def test_one_command_runs_the_seventeen_tasks_of_the_paper(tmp_path):
    options = ("--decoders", "random:k=64", "--samples", "1", "--out", str(tmp_path / "run"))
    assert main(["run", "paper", *options]) == 0
    records = list(RunDirectory.open(tmp_path / "run").records())
    assert len(records) == len({record.task.name for record in records}) == 17
    assert {record.status for record in records} == {"ok"}
    written = {record.task.name: record for record in records}
    assert set(TEXT) < set(written)
    for name in TEXT:
        assert len(written[name].decoding.output_ids) == 64
        assert written[name].task.engines == TASKS[name]().engines()
        assert set(written[name].marks.parts) <= set(TASKS[name].scores)
    assert written["waiting_line/copy"].task.engines == {}


def rewrite(folder, change):
    """Change every record of a run."""
    for path in folder.glob("records-*.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        changed = [to_line(change(from_line(line, "a record"))) for line in lines]
        path.write_text("".join(changed), encoding="utf-8")


def with_older_engine(record):
    engines = {
        name: version.replace(" 0.", " 0.1.") for name, version in record.task.engines.items()
    }
    return altered(record, engines=engines)


def test_a_run_does_not_go_on_with_another_release_of_an_engine(model, tmp_path):
    tasks = "text_writing/w2s_easy"
    plan = make_runfile({"models": model, "tasks": tasks, "decoders": "random:k=64", "samples": 2})
    run(plan, tmp_path / "run")
    rewrite(tmp_path / "run", with_older_engine)
    (path,) = (tmp_path / "run").glob("records-*.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))
    before = path.read_bytes()
    with pytest.raises(RunFileError, match="marks by different engines are different metrics"):
        run(plan, tmp_path / "run")
    assert path.read_bytes() == before


def test_shards_with_other_engines_are_not_merged(model, tmp_path):
    tasks = "text_writing/w2s_easy"
    plan = make_runfile({"models": model, "tasks": tasks, "decoders": "random:k=64", "samples": 2})
    for index in (1, 2):
        run(plan, tmp_path / f"{index}", shard=Shard(index, 2))
    rewrite(tmp_path / "2", with_older_engine)
    with pytest.raises(RecordsError, match="only shards of the same models and tasks"):
        merge([tmp_path / "1", tmp_path / "2"], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_a_list_of_tasks_tells_samples_canvas_law_scores_source_and_licence(capsys):
    assert main(["list", "tasks", "--json"]) == 0
    told = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    facts = ("samples", "canvas", "law_known", "scores", "source", "licence")
    assert all(entry.keys() >= set(facts) for entry in told.values())
    easy = [told["text_writing/w2s_easy"][fact] for fact in facts]
    assert easy == [
        100,
        64,
        False,
        ["grammar", "words", "words_substring", "sentence_to_words_score"],
        "100 sets of related words of our own",
        "CC0-1.0",
    ]
    open_ended = {name for name, entry in told.items() if not entry["law_known"]}
    assert open_ended == {*TEXT, "original_text"}
    main(["list", "tasks"])
    lines = capsys.readouterr().out.splitlines()
    shown = list(itertools.dropwhile(lambda line: line.strip() != TEXT[0], lines))[3]
    assert (
        "100 samples, canvas of 64 tokens, answer distribution unknown; scores: grammar, " in shown
    )
    assert (
        "source: 100 sentences of our own; source=PATH|ID: ChatGPT-paraphrases (CC0-1.0)" in shown
    )


def test_an_edited_source_is_read_again_and_has_another_digest(tmp_path):
    file = tmp_path / "texts.jsonl"

    def begun(drink):
        """A task on a file that has just been written, with the digest of its sample."""
        row = {
            "dialogue": f"Ann: Do you want {drink}?\nBob: Yes.",
            "summary": f"Bob wants {drink}.",
        }
        file.write_text(json.dumps(row) + "\n")
        return Summarization(source=str(file))

    def sample(task):
        return task.draw(sample_rng(0, task.name, 0), 0).digest

    one = begun("some tea")
    before, first = one.sources(), sample(one)
    other = begun("some coffee")
    assert before.keys() == other.sources().keys() == {f"source={file}"}
    assert before != other.sources()
    assert first != sample(other)
    # A task that has begun keeps what it read.
    assert (one.sources(), sample(one)) == (before, first)
    assert Summarization().sources() == {}
