# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TREE := src tests tools benchmarks
# Modules are compiled once, not in each of the processes that the tests start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo serve-demo test test-thorough test-firefox browser check lint types rooms format docs site \
  screenshots reliability \
  bench-ingest bench-search bench-layout bench-encode bench-plan bench-recall bench-centred bench-serve \
  bench-page bench-cli bench-large bench-columns bench-words bench-embed bench-sync soak clean

demo: $(VENV)/.installed
	$(BIN)/cliphouse demo --dir demo
	@echo "or search in a browser: make serve-demo"

serve-demo: $(VENV)/.installed
	@test -d demo/laion.chdb || $(MAKE) demo
	$(BIN)/cliphouse serve --db demo/laion.chdb --pictures demo/pictures

test: check browser
	$(BIN)/pytest

# As `make test`, but tests with random input try several times as many examples.
test-thorough: check browser
	THOROUGH=1 $(BIN)/pytest

# The page's main ways in a Firefox that is installed. CI has none, so it is no part of `make test`.
test-firefox: $(VENV)/.test-installed
	$(BIN)/python tools/check_firefox.py

# The page is tested in a real browser, which pip does not have: get one if there is none.
browser: $(VENV)/.test-installed
	@$(BIN)/python benchmarks/headless.py

check: lint types rooms

lint: $(VENV)/.test-installed
	$(BIN)/ruff check $(TREE)
	$(BIN)/ruff format --check $(TREE)

types: $(VENV)/.test-installed
	$(BIN)/mypy

# The order of the rooms is a contract in pyproject.toml: an import never runs back up.
rooms: $(VENV)/.test-installed
	$(BIN)/lint-imports

format: $(VENV)/.test-installed
	$(BIN)/ruff check --fix $(TREE)
	$(BIN)/ruff format $(TREE)

bench-ingest: $(VENV)/.bench-installed
	$(BIN)/python benchmarks/ingest.py --rows-large 1000000

bench-search: $(VENV)/.bench-installed
	cd benchmarks && ../$(BIN)/python -m search all

# Takes hours, and 3 kB of disk a row: make bench-large DIR=/a/large/disk
bench-large: $(VENV)/.bench-installed
	$(BIN)/python benchmarks/large.py --dir $(DIR)

bench-columns: $(VENV)/.test-installed
	$(BIN)/python benchmarks/columns.py

bench-sync: $(VENV)/.test-installed
	$(BIN)/python benchmarks/sync.py

bench-words: $(VENV)/.test-installed
	$(BIN)/python benchmarks/words.py

bench-layout: $(VENV)/.test-installed
	$(BIN)/python benchmarks/layout.py

bench-plan: $(VENV)/.bench-installed
	$(BIN)/python benchmarks/plan.py --rows 20000 100000 1000000

bench-recall: $(VENV)/.bench-installed
	$(BIN)/python benchmarks/recall.py --before

bench-encode: $(VENV)/.test-installed
	$(BIN)/python benchmarks/encode.py

bench-embed: $(VENV)/.test-installed
	$(BIN)/python benchmarks/embed.py

bench-centred: $(VENV)/.bench-installed
	$(BIN)/python benchmarks/centred.py

bench-serve: $(VENV)/.test-installed
	$(BIN)/python benchmarks/serve.py --vit

bench-page: browser
	$(BIN)/python benchmarks/page.py

bench-cli: $(VENV)/.test-installed
	$(BIN)/python benchmarks/cli.py

# Eight processes search and one loads for two minutes: no error, no row lost or doubled.
soak: $(VENV)/.test-installed
	$(BIN)/python benchmarks/soak.py

docs: $(VENV)/.test-installed
	$(BIN)/python -m typer cliphouse.cli.app utils docs --name cliphouse --output docs/commands.md
	$(BIN)/python tools/paper.py

# The documentation as a site, in build/site. It needs Python 3.11 or later.
site: $(VENV)/.docs-installed
	$(BIN)/python tools/site_pages.py
	$(BIN)/zensical build --clean --strict
	$(BIN)/python tools/site_pages.py --check

# The pictures of the search page in docs/images, from the demo.
screenshots: browser
	@test -d demo/laion.chdb || $(MAKE) demo
	$(BIN)/python tools/screenshots.py --demo demo

# The figures of docs/reliability.md, from a run of all tests.
reliability: browser
	$(BIN)/pytest --junitxml=build/report.xml
	$(BIN)/python tools/reliability.py build/report.xml

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "make: $(PYTHON) -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@# For CLIP's vocabulary and tokenizer, which need neither torch nor its other 2 GB.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'open_clip_torch>=3.3,<4'
	touch $@

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

$(VENV)/.bench-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
