"""Whatever foreign files hold, they are read, or refused with an error of ours.

Every reader is given the same few hundred spoilt folders each time; ``make fuzz`` gives it more.
Entries of boards are spoilt in ``tests/leaderboards/test_fuzz_entries.py``.
"""

import contextlib
import json
import shutil

import pytest

from parallelbench.analysis.commands.actions.published import read_published
from parallelbench.analysis.judging.verdicts import calibration_of, read_items
from parallelbench.decoder import DECODERS
from parallelbench.evaluation import load_run
from parallelbench.model import MODELS
from parallelbench.models.unigram_table import UnigramTable
from parallelbench.registry import load_plugins
from parallelbench.run.merge import merge
from parallelbench.run.recording import draw_sample
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile, read_content
from parallelbench.run.runner import run
from parallelbench.run.shard import Shard
from parallelbench.setting import build, make_setting
from parallelbench.task import TASKS
from parallelbench.tasks.original import Original
from parallelbench.tasks.original_bundle import bundle_of, read_bundle, write_bundle
from parallelbench.tasks.original_files import read_checkout
from parallelbench.tasks.text_sources import Columns, _texts
from parallelbench.training.folder import TrainingFolder
from parallelbench.training.log import LogEntry, TaskLoss, read_log, write_log
from support import checkpoints
from support.fuzzing import faults
from support.original_checkout import ROWS, write_checkout

#: One task of each way to mark and to be read.
ORIGINAL = (
    "waiting_line/copy",
    "waiting_line/insert_random",
    "puzzle/latin_square_n4",
    "puzzle/sudoku_n4_12",
    "words_to_sentence/easy",
    "paraphrase_summarize/samsum",
    "paraphrase_summarize/chatgpt-paraphrases",
)
RUN = {
    "models": "ideal",
    "tasks": "choices/city,waiting_line/shuffle:length=3",
    "decoders": "one_by_one,random:k=4",
    "samples": 2,
}


def read_runfile(folder):
    make_runfile(read_content(folder / "run.yaml"), where="run.yaml")


def read_run(folder):
    held = load_run(folder)
    assert len(held.results) <= len(held.records)
    RunDirectory.open(folder, any_version=True).provenance()


def go_on(folder):
    """Continue a run: what is there is read, and what is missing is decoded."""
    run(make_runfile(RUN), folder)


def read_shards(folder):
    merge([folder / "a", folder / "b"], folder / "merged")


def read_original(folder):
    for sample in read_checkout(folder).samples:
        assert sample.messages


def read_imported(folder):
    bundle = str(folder / "bundle.jsonl")
    _, tasks = read_bundle(bundle)
    for name, samples in tasks.items():
        if samples[0].metric in Original.metrics:
            setting = make_setting("original", {"path": bundle, "task": name}, TASKS)
            task = build(setting, TASKS)
            task.score(draw_sample(task, 0, 0), samples[0].reference)


def read_verdicts(folder):
    for file in sorted(folder.iterdir()):
        calibration_of(read_items(file))


def read_texts(folder):
    columns = Columns("text", "references", "train", "")
    rows = []
    # As the library hands them over: every column is there, whatever it holds.
    with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError):
        for line in (folder / "texts.jsonl").read_text(errors="replace").splitlines():
            held = json.loads(line)
            rows.append({name: held.get(name) for name in columns[:2]})
    list(_texts(rows, columns, "texts.jsonl"))


def read_decoder_table(folder):
    build(make_setting("pc_sampler", {"table": str(folder / "table.json")}, DECODERS), DECODERS)


def read_checkpoint(folder):
    model = build(make_setting("hf", {"path": str(folder)}, MODELS), MODELS)
    model.capabilities()
    codec = model.open_codec(fetch=False)
    codec.decode(codec.encode(["a b"])[0])


def read_training(folder):
    held = TrainingFolder(folder)
    held.record()
    held.state()
    read_log(held, 10**9)


def write_run(folder):
    run(make_runfile({**RUN, "samples": 1}), folder)
    run(make_runfile(RUN), folder, extend=True)


def write_shards(folder):
    for name, part in (("a", "1/2"), ("b", "2/2")):
        run(make_runfile(RUN), folder / name, shard=Shard.parse(part))


def write_original(folder):
    write_checkout(folder, {name: ROWS[name] for name in ORIGINAL})


def write_imported(folder):
    write_original(folder / "checkout")
    samples = read_checkout(folder / "checkout").samples
    write_bundle(bundle_of(samples), "", folder / "bundle.jsonl")
    (folder / "bundle.yaml").unlink()
    shutil.rmtree(folder / "checkout")


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


VERDICTS = [
    {"text": "It is.", "label": "pass", "verdict": "pass", "judge": "m", "kind": ""},
    {"text": "It are.", "label": "fail", "verdict": "pass", "judge": "m", "kind": "agreement"},
]


def write_verdicts(folder):
    folder.mkdir()
    write(folder / "lines.jsonl", "".join(json.dumps(row) + "\n" for row in VERDICTS))
    rows = [",".join(row.values()) for row in VERDICTS]
    write(folder / "table.csv", "\n".join([",".join(VERDICTS[0]), *rows]) + "\n")


def write_texts(folder):
    rows = [{"text": "It is.", "references": [" So it is."]}, {"text": "a", "references": "b"}]
    rows.append({"text": "c", "references": "['d', 'e']"})
    write(folder / "texts.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def write_decoder_table(folder):
    write(folder / "table.json", UnigramTable("0" * 12, {1: 2, 3: 4}).to_json())


def write_checkpoint(folder):
    checkpoints.write_checkpoint("llada", folder)
    # Weights are not read, and would be copied for every case.
    for file in folder.glob("*.safetensors"):
        file.unlink()


def write_training(folder):
    folder.mkdir()
    held = TrainingFolder(folder)
    held.begin({"steps": 2})
    held.note(loss=1.0)
    entry = LogEntry(1, 8, 0.5, {"choices/city": TaskLoss(0.5, 8, 0.0)}, 0.1, 1.0, 2.0)
    write_log(held, [entry, entry._replace(step=2)])
    held.write_state({"step": 2})


def write_published(folder):
    write(folder / "m" / "klass.csv", "task,tps,accuracy\ncopy,1,100\navg,1,90\navg,2,80\n")


READERS = {
    "run file": (write_run, read_runfile, 100),
    "run": (write_run, read_run, 100),
    "run that goes on": (write_run, go_on, 60),
    "shards": (write_shards, read_shards, 60),
    "original files": (write_original, read_original, 60),
    "imported tasks": (write_imported, read_imported, 300),
    "verdicts": (write_verdicts, read_verdicts, 300),
    "texts": (write_texts, read_texts, 300),
    "decoder table": (write_decoder_table, read_decoder_table, 300),
    "checkpoint": (write_checkpoint, read_checkpoint, 60),
    "training": (write_training, read_training, 300),
    "published results": (write_published, read_published, 300),
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_spoilt_is_read_or_refused(name, tmp_path):
    write, read, cases = READERS[name]
    load_plugins()
    write(tmp_path / "honest")
    found = faults(name, tmp_path / "honest", tmp_path, read, cases=cases)
    assert not found, found
