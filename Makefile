# Every command of the project. `make help` (the default) reads the lines after the two hashes.

PYTHON     ?=
EXPERIMENT ?=
HOST       := 127.0.0.1
PORT       ?= 8765
BIN        := .venv/bin
STAMP      := .venv/.stamp
PIP        := $(BIN)/python -m pip --quiet --disable-pip-version-check
DEMO       := runs/demo/$(shell date -u +%Y%m%dT%H%M%SZ)

export PYTHON
MAKEFLAGS  += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup test lint types imports wheel format demo serve chaos chaos-nightly systems planted bench soak calibration docs lock clean

help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything pinned; instant when nothing changed

# The stamp is written last, so an interrupted set-up runs again.
$(STAMP): requirements.lock pyproject.toml
	@rm -f $@
	@$(BIN)/python -m pip --version >/dev/null 2>&1 \
	  || { python=$$(tools/find-python) && echo "setting up .venv with $$python" && "$$python" -m venv --clear .venv; }
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-index --no-build-isolation --editable .
	@touch $@

test: setup ## Run every gate: style, types, import laws, wheel, then the tests
	@$(MAKE) lint
	@$(MAKE) types
	@$(MAKE) imports
	@$(MAKE) wheel
	@$(BIN)/pytest --numprocesses 3 --dist loadfile

lint: setup ## Check style and formatting (ruff)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: setup ## Rewrite the code in the project's format, and apply ruff's safe fixes
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: setup ## Check types (mypy --strict)
	@$(BIN)/mypy --strict

imports: setup ## Check the import laws (import-linter)
	@$(BIN)/lint-imports --no-logo

wheel: setup ## Build the wheel into dist/ and check its content
	@rm -rf dist
	@log=$$($(BIN)/python -m build --wheel --no-isolation --outdir dist . 2>&1) || { echo "$$log"; exit 1; }
	@$(BIN)/check-wheel-contents dist

# A lane that fails or decides nothing has a report as well, so the others run too; then the gravest exit code counts.
demo: setup ## Run the demo experiment in all three lanes and print where the reports are
	@codes=; \
	run() { echo "$(BIN)/resilience $$*"; $(BIN)/resilience "$$@"; codes="$$codes $$?"; }; \
	run chaos run demo --out $(DEMO)/real; \
	run sim run demo --lane virtual --out $(DEMO)/virtual; \
	run sim run demo --lane model --out $(DEMO)/model; \
	run report compare $(DEMO)/real $(DEMO)/virtual $(DEMO)/model --out $(DEMO)/compare; \
	for lane in real virtual model; do echo "report, $$lane lane: $(DEMO)/$$lane/report.html"; done; \
	echo "comparison: $(DEMO)/compare/compare.html"; \
	for code in 4 2 1 3; do case "$$codes " in *" $$code "*) exit $$code ;; esac; done; \
	[ "$$codes" = " 0 0 0 0" ]

serve: setup ## Serve quizzes on HOST (127.0.0.1; 0.0.0.0 for phones) and PORT (8765), with a host key of its own unless RESILIENCE_HOST_KEY is set
	@key=$${RESILIENCE_HOST_KEY:-$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(8))')}; \
	[ -n "$$RESILIENCE_HOST_KEY" ] || echo "host key: $$key"; \
	RESILIENCE_HOST_KEY=$$key exec $(BIN)/resilience serve --host $(HOST) --port $(PORT)

# One experiment if one is named, else the quick set.
chaos: setup ## Run the quick set of experiments in about ten minutes, or EXPERIMENT=name-or-file against real processes
	@$(if $(EXPERIMENT),$(BIN)/resilience chaos run $(EXPERIMENT),$(BIN)/python tools/catalogue.py)

chaos-nightly: setup ## Run every bundled experiment against real processes: about three quarters of an hour
	@$(BIN)/python tools/catalogue.py --lane real

systems: setup ## Compare this server with Socket.IO, Centrifugo and a bare one: twenty minutes, and a build of minutes once
	@$(BIN)/resilience chaos compare-systems abrupt-disconnects office-outage tunnel server-crash quiz socketio centrifugo echo

planted: setup ## Plant every known defect and print which check names it, in which lane, after how long
	@$(BIN)/python -m tests.support.planted.table

bench: setup ## Measure for half an hour: the benchmarks (RECORD=1 renews the tables in docs/)
	@RECORD=$(RECORD) $(BIN)/pytest -m bench

soak: setup ## Let 2,000 connections come back 200,000 times and compare what the server holds: ten minutes
	@$(BIN)/python -m tests.wire.soak

calibration: setup ## Make the runs of the shipped calibration, fit and validate it: about twenty minutes, on a quiet machine
	@$(BIN)/python tools/calibration.py

docs: setup ## Regenerate the parts of docs/ that are made from the code
	@$(BIN)/python tools/docs.py

lock: ## Renew requirements.lock (LOCK=--upgrade takes the newest versions)
	@python=$$(tools/find-python) && "$$python" -m venv --clear build/lock
	@build/lock/bin/python -m pip --quiet install 'pip>=25.1' 'pip-tools>=7.5'
	@build/lock/bin/python tools/lock.py $(LOCK)

clean: ## Remove what set-up, builds and checks made; runs/ stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find chaos reports resilience sim tests tools -name __pycache__ -prune -exec rm -rf {} +
