#!/usr/bin/env bash
# Every gate, in order; the first that fails ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
export PATH="$PWD/$bin:$PATH" COVERAGE_FILE="$PWD/.coverage"
unset PYTHONDONTWRITEBYTECODE  # with it, each process that a test starts compiles the library again
gate() { printf '\n== %s\n' "$1"; }

gate 'package and notebooks in step';   python tools/check_sync.py
gate 'lint';                            ruff check mlops_nb nbs flows examples tests benchmarks tools
gate 'format';                          ruff format --check nbs flows examples tests benchmarks tools
gate 'types';                           mypy
gate 'floors';                          python tools/check_floors.py; python tools/house.py --check
gate 'cells';                           python tools/check_cells.py
gate 'words';                           python tools/check_words.py
gate 'what notebooks say';              mlops-nb check --strict nbs/lib examples
bash tools/system_packages.sh
tested() { python -m pytest -n 2 --dist loadfile -m 'not slow' -p tools.costs --costs "$@"; }
# Coverage makes Python two to three times slower: it is measured where each line has its example, in the notebooks.
gate 'notebooks as modules';            tested notebooks nbs/lib --cov --cov-report=term:skip-covered --cov-fail-under=90
gate 'tests';                           tested tests tests
gate 'wheel';                           python tools/check_wheel.py
gate 'wheels for other machines';       python tools/check_platforms.py
