# Two commands need nothing done before them: `make bench` and `make test`.
# Choose another Python, torch build or place: make bench PYTHON=python3.12 TORCH=torch==2.12.0 VENV=/tmp/venv

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: bench test check docs fuzz figure mini clean

bench: $(VENV)/installed
	$(BIN)/parallelbench run

# Each worker begins with its share of the files, so that the fixtures of a file are made once.
test: $(VENV)/installed-for-tests
	$(BIN)/python -m pytest -n auto --dist worksteal

# The quick part of what every change must hold: lint, format, types, the tests of the structure.
check: $(VENV)/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/link_types.py
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/core/test_examples.py

# The documentation site in build/site; a broken link or a page outside the navigation is an error.
# Not with --quiet: it hides the warnings that the strict mode counts.
docs: $(VENV)/installed-for-docs
	$(BIN)/python .ci/link_types.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo "open build/site/index.html"

# Spoilt files for every reader of foreign files, for hours; the tests take the first hundreds of
# the same.
fuzz: $(VENV)/installed-for-tests
	PARALLELBENCH_FUZZ=10000 $(BIN)/python -m pytest -n auto tests/core/test_fuzz.py \
		tests/leaderboards/test_fuzz_entries.py

# The figures of the README, of docs/long-answers.md and of docs/judges.md, made again.
figure: $(VENV)/installed
	$(BIN)/parallelbench run --tasks waiting_line/copy,choices/dice,choices/city,waiting_line/shuffle \
		--decoders 'one_by_one,random:k=2|4|8|32,confidence:k=2|4|8|32' \
		--decoders 'confidence_threshold:threshold=0.9|0.5,entropy_bound:bound=0.1|1.0' \
		--out runs/figure
	cp runs/figure/figures/overview.svg docs/overview.svg
	cp runs/figure/figures/overview-dark.svg docs/overview-dark.svg
	$(BIN)/parallelbench bounds --figure speed_limits --out runs/speed_limits
	cp runs/speed_limits/speed_limits.svg runs/speed_limits/speed_limits-dark.svg docs/
	$(BIN)/parallelbench bounds --figure growth --out runs/growth
	cp runs/growth/growth.svg runs/growth/growth-dark.svg docs/
	$(BIN)/parallelbench judge --figure runs/judges
	cp runs/judges/judges.svg runs/judges/judges-dark.svg docs/

# The network behind `--model mini`, trained again (three hours on one core) and measured again:
# all tasks alike, then more of those that are learnt late.
MINI_TRAIN = $(BIN)/parallelbench train --optimizer muon --precision bfloat16 --compile \
	--tasks 'waiting_line/*:template=default|terse' \
	--tasks 'list_operations/*:template=default|terse,length=3|4|5|6' \
	--tasks 'choices/*:template=default|terse,puzzles/*:template=default|terse'
mini: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[ray]'
	$(MINI_TRAIN) --out checkpoints/mini-first --last-message --dtype float16 \
		--steps 5500 --seed 0 \
		--weights 'waiting_line/*_random=2,waiting_line/sort=3,waiting_line/shuffle=3' \
		--weights 'list_operations/*=0.1,list_operations/s*=0.15' \
		--weights 'choices/*=0.2,choices/sum=0.4,choices/roster=0.8,choices/capital=1' \
		--weights 'choices/date=2,puzzles/sudoku=2.5'
	$(MINI_TRAIN) --out checkpoints/mini --from hf:checkpoints/mini-first \
		--steps 15000 --seed 1 --final-rate 0.02 \
		--weights 'waiting_line/*_random=6,waiting_line/sort=5,waiting_line/shuffle=20' \
		--weights 'list_operations/*=0.03,list_operations/sort=0.4' \
		--weights 'choices/city=0.5,choices/dice=0.5,choices/roster=2,choices/capital=6' \
		--weights 'choices/sum=5,choices/date=7,puzzles/sudoku=2,puzzles/latin_square=8' \
		--weights 'waiting_line/*:template=terse=0.3,waiting_line/*_random:template=terse=1.5' \
		--weights 'waiting_line/sort:template=terse=1,waiting_line/shuffle:template=terse=4' \
		--weights 'choices/*:template=terse=1,puzzles/*:template=terse=1'
	cp checkpoints/mini-first/training.json parallelbench/models/data/mini/training-first.json
	cd checkpoints/mini && cp chat_template.jinja config.json model.safetensors tokenizer.json \
		tokenizer_config.json training.json ../../parallelbench/models/data/mini/
	$(BIN)/python benchmarks/mini.py

# The torch build is installed first, so that nothing after it pulls another.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	$(READERS)
	$(BROWSER)
	touch $@

$(VENV)/installed-for-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

# Exported files are read back by the tools that they are for.  Without what those depend on: it
# would replace versions of ours, and reading a file needs none of it, nor a newer Python.
READERS = @$(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python \
	every-eval-ever==0.3.0 lm-eval==0.4.13

# The report is tested in a real browser, which only the system's packages bring; where it cannot
# be installed, those tests say that they are skipped.
BROWSER = @command -v chromium >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null \
	|| { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	--no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1 || true

clean:
	rm -rf $(VENV) build dist *.egg-info
