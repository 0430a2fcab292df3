# Two commands matter: `make run` and `make test`. Both set everything up first.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup run test campaign check format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt setup.sh
	./setup.sh

run: setup
	$(BIN)/rialto testnet demo $(if $(MARKET_DATA),$(foreach f,$(MARKET_DATA),--file $(f)),)

# What computes shares the cores; networks of real processes get the machine for themselves, one after the other.
test: setup
	$(BIN)/python -m pytest -m "not process" -n auto
	$(BIN)/python -m pytest -m process

# Thousands of simulated seeds and Twins scenarios of every engine; an interrupted one goes on with, say,
# SEEDS=2400..5000. Then broken engines, each of which must be found.
SEEDS := 1..1000
SCENARIOS := 1000
ENGINES := pbft tendermint hotstuff
JOBS := $(shell nproc 2>/dev/null || echo 2)

campaign: setup
	status=0; for engine in $(ENGINES); do \
		$(BIN)/rialto simulate --engine $$engine --seeds $(SEEDS) --jobs $(JOBS) || status=1; \
		$(BIN)/rialto simulate twins --engine $$engine --scenarios $(SCENARIOS) --jobs $(JOBS) || status=1; \
	done; \
	$(BIN)/python -m tests.simulation.mutants --jobs $(JOBS) || status=1; exit $$status

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/codespell primitives consensus crosslink shards node testnet tests benchmarks docs README.md

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
