BIN := $(or $(VENV),.venv)/bin

.PHONY: run test check fix bench venv

run: venv       ## one relay on this machine, with a demo broadcast and a page to watch it
	@$(BIN)/moq-relay demo

test: venv      ## every test; what needs a tool that is missing is skipped and named at the end
	@$(BIN)/python -m pytest -n 2 $(ARGS)

check: venv     ## what a machine can say about the code: style, types, floors, generated docs
	@tools/check

fix: venv       ## mend what ruff can mend
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench: venv     ## the table of docs/performance.md, measured here
	@$(BIN)/python -m tests.bench $(ARGS)

venv:
	@tools/venv
