BIN := $(or $(VENV),.venv)/bin

.PHONY: run test check fix bench chaos alarms floods rights fuzz venv

run: venv       ## three relays on this machine as one cluster, with a demo broadcast and a page
	@$(BIN)/moq-relay dev

test: venv      ## every test; what needs a tool that is missing is skipped and named at the end
	@$(BIN)/python -m pytest -n 4 $(ARGS)

check: venv     ## what a machine can say about the code: style, types, floors, generated docs
	@tools/check

fix: venv       ## mend what ruff can mend
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench: venv     ## the table of docs/performance.md, measured here
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: venv     ## every fault at the default lease, then ten minutes of faults by chance; ARGS="--seed N"
	@$(BIN)/python -m tests.chaos --write docs/reliability.md $(ARGS)
	@$(BIN)/python -m tests.chaos --minutes 10 --write docs/reliability.md $(ARGS)

alarms: venv    ## every fault that an alert is for, then ten minutes of none; ARGS="--only NAME"
	@$(BIN)/python -m tests.alarms --write docs/alerts-seen.md $(ARGS)

floods: venv    ## four floods at a relay, and what ten minutes of all leave behind; ARGS="--only NAME"
	@$(BIN)/python -m tests.floods --write docs/floods.md $(ARGS)
	@$(BIN)/python -m tests.floods --soak --write docs/floods.md $(ARGS)

rights: venv    ## every token at every path, by every transport and version, against an oracle
	@$(BIN)/python -m tests.rights $(ARGS)

fuzz: venv      ## ten million cases at each parser of what comes from outside; ARGS="--cases N --only NAME"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
	  --requirement tests/fuzz/requirements.lock || echo 'atheris does not install here; going on without it'
	@$(BIN)/python -m tests.fuzz $(ARGS)

venv:
	@tools/venv
