"""Small entries of a small season, and what is needed to spoil them."""

import json
import lzma

import yaml

from parallelbench.leaderboards.commands import packing as pack
from parallelbench.leaderboards.entry import folder
from parallelbench.record_line import _digest_of, from_line
from parallelbench.results.result import summarize
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run

SEED = 20261125
TASKS_OF_SEASON = ("choices/sum", "waiting_line/copy:length=3,canvas_length=64")
DECODERS = "one_by_one,confidence:k=4,confidence_threshold:threshold=0.9,rcr:k=4,label,random:k=32"


def make_run(out, models=("ideal",), decoders=DECODERS, **changes):
    content = {
        "models": list(models),
        "tasks": list(TASKS_OF_SEASON),
        "decoders": [decoders],
        "samples": 3,
        "seed": SEED,
    }
    return run(make_runfile({**content, **changes}), out).path


def make_entry(place, **of_run):
    pack.pack(make_run(place / "run", **of_run), place / "entry", pack.Statement(submitter="us"))
    return place / "entry"


class Spoilt:
    """An entry and the ways to change it so that every outer check still passes."""

    def __init__(self, path):
        self.path = path

    def seal(self):
        folder.write_manifest(self.path)

    def write(self, name, content):
        content = content if isinstance(content, bytes) else content.encode()
        (self.path / name).write_bytes(content)
        self.seal()

    def records(self):
        opened = folder.EntryFolder.open(self.path)
        return [json.loads(line) for line, _ in opened.lines()]

    def write_records(self, records):
        self.write_lines(digested(record) for record in records)

    def write_lines(self, lines):
        self.write(folder.RECORDS.format(0), lzma.compress("".join(lines).encode()))

    def change(self, edit, decoder=None, status=None):
        """Change the first record of ``decoder``."""
        records = self.records()
        chosen = (each for each in records if decoder in (None, each["decoder"]["name"]))
        edit(next(each for each in chosen if status in (None, each["status"])))
        self.write_records(records)

    def change_yaml(self, name, edit):
        content = yaml.safe_load((self.path / name).read_text())
        edit(content)
        self.write(name, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def change_json(self, name, edit):
        content = json.loads((self.path / name).read_text())
        edit(content)
        self.write(name, json.dumps(content))


def digested(record):
    """A line whose digest is right, whatever it says."""
    content = {key: value for key, value in record.items() if key != "digest"}
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))[:-1]
    return f'{body},"digest":"{_digest_of(body)}"}}\n'


def results_of(records):
    """What a run that wrote these records claims."""
    read = [from_line(digested(record), "here") for record in records]
    return json.dumps([result.as_dict() for result in summarize(read)])


def merge_steps(record, first):
    """Make two steps of a record one, as if the model had been called once less."""
    trace = record["decoding"]["trace"]
    both = [[*trace[column][first], *trace[column][first + 1]] for column in ("positions", "ids")]
    pairs = sorted(zip(*both, strict=True))
    for column, values in zip(("positions", "ids"), zip(*pairs, strict=True), strict=True):
        trace[column][first : first + 2] = [list(values)]
    for column in ("rows", "row_tokens", "auxiliary_calls"):
        del trace[column][first + 1]
