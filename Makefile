# Two commands matter: `make run` and `make test`. Both set everything up first.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup run test check format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt setup.sh
	./setup.sh

run: setup
	$(BIN)/rialto testnet demo $(if $(MARKET_DATA),$(foreach f,$(MARKET_DATA),--file $(f)),)

test: setup
	$(BIN)/python -m pytest

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
