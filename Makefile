WORKERS ?= 3

# Without byte code on disk, each worker of the tests compiles all of them again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup install demo test projects newcomer night soak contract lint clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s  %s\n", $$1, $$2 }' Makefile

setup: ## .venv, a container engine and the agent image; YES=1 installs Docker without asking
	@scripts/setup.sh

install: ## Put the command `orchestrator` on your PATH, in an environment of its own
	@scripts/install.sh

demo: setup ## The example plan, by the real agent with a scripted model; LIVE=1 with ANTHROPIC_API_KEY: the real one
	@.venv/bin/orchestrator demo $(if $(filter 1,$(LIVE)),--live)

test: ## The whole test suite; ARGS="tests/plan -x" for a part of it
	@ENGINE_OPTIONAL=1 scripts/setup.sh
	@.venv/bin/python -m pytest -n $(WORKERS) --dist loadscope $(ARGS)

projects: ## The first run of ten kinds of projects, from `init` on (`make test` has three), and whole runs with Go and Rust
	@scripts/setup.sh
	@PROJECTS=all .venv/bin/python -m pytest -s \
		tests/projects/test_first_run.py tests/projects/test_go.py tests/projects/test_rust.py $(ARGS)

newcomer: ## From the wheel to the end of the example, as another user with an empty HOME
	@scripts/setup.sh
	@NEWCOMER=all .venv/bin/python -m pytest tests/setup/test_installed.py $(ARGS)

night: ## Ten tasks under `nohup` in five minutes: a failure, a question, and limits that the run waits for
	@scripts/setup.sh
	@NIGHT=all .venv/bin/python -m pytest tests/e2e/test_night.py $(ARGS)

soak: ## The tests that find more the longer they run (HISTORIES=200, MANY_FILES=100000), every limit of a provider, kills at any instant
	@ENGINE_OPTIONAL=1 scripts/setup.sh
	@HISTORIES=$${HISTORIES:-200} MANY_FILES=$${MANY_FILES:-100000} .venv/bin/python -m pytest \
		tests/mount_mode/test_histories.py tests/hostile/test_trees.py -k "lost or many" $(ARGS)
	@LIMITS=all .venv/bin/python -m pytest -s tests/e2e/test_limits.py $(ARGS)
	@FAULTS=$${FAULTS:-whole} .venv/bin/python -m pytest tests/faults $(ARGS)

contract: ## The driver against the real CLI and a scripted provider; CLI=VERSION for a published one, CAPTURE=1 to store
	@scripts/setup.sh
	@scripts/contract.sh $(CLI)

lint: ## Style, types, import contract, shell scripts
	@scripts/venv.sh
	@scripts/lint.sh

clean: ## Remove all generated files (not Docker, not its images)
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
