"""Check that library notebooks stay readable: no exported cell and no module grows without end."""

import json
import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parent.parent / 'nbs' / 'lib'
CELL, MODULE = 40, 450  # lines; those that are blank, and nbdev's directives, do not count


def sizes(path: Path) -> dict[int, int]:
    "How many lines each exported cell of a notebook has, by its position."
    found = {}
    for place, cell in enumerate(json.loads(path.read_text(encoding='utf-8'))['cells'], 1):
        lines = [line.strip() for line in ''.join(cell['source']).splitlines()]
        if cell['cell_type'] == 'code' and '#| export' in lines:
            found[place] = sum(bool(line) and not line.startswith('#|') for line in lines)
    return found


def findings(path: Path) -> list[str]:
    "What is too long in one notebook."
    found, name = sizes(path), str(path.relative_to(LIBRARY.parent.parent))
    long = [f'{name}:cell {at}: {n} lines; at most {CELL}' for at, n in found.items() if n > CELL]
    total = sum(found.values())
    return long + [f'{name}: {total} exported lines; at most {MODULE}'] * (total > MODULE)


def main() -> int:
    "Print what is too long; 1 when something is."
    paths = sorted(p for p in LIBRARY.rglob('*.ipynb') if p.stem != '000_init')  # a face is a list of names
    found = [line for path in paths for line in findings(path)]
    print('\n'.join(found) if found else f'{len(paths)} notebooks, no cell over {CELL} lines')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
