# Two commands need nothing done before them: `make bench` and `make test`.
# Choose another Python, torch build or place: make bench PYTHON=python3.12 TORCH=torch==2.12.0 VENV=/tmp/venv

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: bench test figure clean

bench: $(VENV)/installed
	$(BIN)/parallelbench run

test: $(VENV)/installed-for-tests
	$(BIN)/python -m pytest -n auto

# The figures of the README, made again.
figure: $(VENV)/installed
	$(BIN)/parallelbench run --tasks waiting_line/copy,choices/dice,choices/city,waiting_line/shuffle \
		--decoders 'one_by_one,random:k=2|4|8|32,confidence:k=2|4|8|32' \
		--decoders 'confidence_threshold:threshold=0.9|0.5,entropy_bound:bound=0.1|1.0' \
		--out runs/figure
	cp runs/figure/figures/overview.svg docs/overview.svg
	cp runs/figure/figures/overview-dark.svg docs/overview-dark.svg
	$(BIN)/parallelbench bounds --figure speed_limits --out runs/speed_limits
	cp runs/speed_limits/speed_limits.svg runs/speed_limits/speed_limits-dark.svg docs/

# The torch build is installed first, so that nothing after it pulls another.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
