# Every target does all the set-up: it needs nothing but python3 (3.11 or newer, with venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The shipped checkpoints that the project's own gate watches (tests/test_own_gate.py), and on how many questions: fewer
# where nearly every one stands and takes all steps of the attack.
GATED := tiny-sft-letter:100 tiny-sft-reasoning:100 tiny-noise-reasoning:100 tiny-at-sft:40 tiny-grpo:40 \
  tiny-mixture-at-sft:40 safemed-r1-tiny:40 safemed-r1-tiny-instruct:40

.PHONY: demo test fuzz check docs baseline pins reproduce reproduce-train clean

demo: $(VENV)/.installed ## two of the shipped models on synthetic phantoms: clean, attacked, certified
	$(BIN)/medrobust run

test: check docs ## style, types, layers, the documentation, and every test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

fuzz: $(VENV)/.installed ## forty times as many damaged files, settings and flags as `make test` tries
	OMP_NUM_THREADS=1 MEDROBUST_FUZZ=40 $(BIN)/pytest tests/cli/test_fuzz.py

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(VENV)/.installed ## the documentation as a site, into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

baseline: $(VENV)/.installed ## measure anew what the gate compares with: after a checkpoint was meant to change
	rm -rf runs/baseline
	for gated in $(GATED); do \
	  model=$${gated%:*}; \
	  $(BIN)/medrobust run --model $$model --limit $${gated#*:} --threat pgd-linf --out runs/baseline/$$model || exit; \
	  mkdir -p tests/baseline/$$model; \
	  cp runs/baseline/$$model/run.json runs/baseline/$$model/journal.jsonl tests/baseline/$$model/; \
	done

pins: $(VENV)/.installed ## write the digests of the shipped checkpoints into their cards anew: after one was meant to change
	$(BIN)/medrobust models pin $(foreach gated,$(GATED),$(firstword $(subst :, ,$(gated)))) safemed-r1-tiny-smoothed --write

reproduce: $(VENV)/.installed ## the tables and the figure of docs/reproduction.md
	$(BIN)/medrobust run benchmarks/reproduction.yaml --out runs/reproduction
	$(BIN)/medrobust run benchmarks/reproduction_threats.yaml --out runs/reproduction-threats
	$(BIN)/python benchmarks/reproduction.py --pgd runs/reproduction --threats runs/reproduction-threats

reproduce-train: $(VENV)/.installed ## every shipped checkpoint from random weights, into runs/
	$(BIN)/medrobust train sft tiny-sft-start
	$(BIN)/medrobust train sft tiny-sft-reasoning
	$(BIN)/medrobust train sft tiny-sft-letter --base runs/tiny-sft-reasoning
	$(BIN)/medrobust train sft tiny-noise-reasoning --base runs/tiny-sft-reasoning
	$(BIN)/medrobust train at-sft tiny-at-describe --base runs/tiny-noise-reasoning
	$(BIN)/medrobust train at-sft tiny-at-answer
	$(BIN)/medrobust train at-sft tiny-at-start
	$(BIN)/medrobust train at-sft tiny-at-sft
	$(BIN)/medrobust train at-sft tiny-mixture-at-sft --base runs/tiny-at-sft
	$(BIN)/medrobust train grpo safemed-r1-tiny --out runs/tiny-grpo
	$(BIN)/medrobust train at-grpo safemed-r1-tiny
	$(BIN)/medrobust train at-sft tiny-at-tick-1
	$(BIN)/medrobust train at-sft tiny-at-tick-2
	$(BIN)/medrobust train at-sft tiny-at-tick-3
	$(BIN)/medrobust train at-sft tiny-at-tick-4
	$(BIN)/medrobust train at-sft tiny-at-tick-5
	$(BIN)/medrobust train at-sft tiny-at-letter
	$(BIN)/medrobust train at-grpo safemed-r1-tiny-instruct

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
