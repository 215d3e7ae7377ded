# `make help` says what there is. All set-up is made as needed; PYTHON=... picks an interpreter.

VENV := .venv
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup servers demo test test-unit test-live test-pythons lint docs bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## the virtual environment, with everything to develop and test
	@.ci/setup dev

servers: ## Prosody, ejabberd, Redis, chat clients, systemd, libzmq for C (Debian packages)
	@.ci/install-servers

demo: ## see it work: a bot, two workers and an alert, on a private Prosody
	@.ci/setup run
	@.ci/install-servers prosody || echo "make demo: going on without Prosody" >&2
	@$(VENV)/bin/zxmpp demo

test: setup servers ## every check there is; what CI runs
	@.ci/test

test-unit: setup ## the tests that need no server
	@.ci/test unit

test-live: setup servers ## the tests against real servers
	@.ci/test live

test-pythons: setup ## the unit tests on the other Python versions
	@.ci/test pythons

lint: setup ## ruff, mypy, import rules
	@.ci/test lint

docs: setup ## the documentation, in docs/_build/html
	@.ci/test docs

bench: setup ## every benchmark, quick; FULL=1: not quick, and the plots of the docs
	@.ci/install-servers prosody ejabberd redis
	@FULL=$(FULL) .ci/test bench

clean: ## remove what was built, and the virtual environments
	rm -rf $(VENV) .venv-* build dist docs/_build *.egg-info .hypothesis .slixmpp-tests
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
