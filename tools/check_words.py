"""Check that no new sentence uses a word to avoid: python tools/check_words.py [--update]

Reads the texts that people meet: string literals of the library (docstrings are texts of --help), prose of
notebooks, templates, settings. What is there today stands in words_today.txt, a line for each file and word
with its number. A number may only shrink: more is refused, and a smaller one is written down by --update.
"""

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TODAY = Path(__file__).with_name('words_today.txt')
# The word to avoid, its forms, and what to write instead.
WORDS = {
    'mend': (r'mend(?:s|ed|ing)?', 'repair, change'),
    'told': (r'told|tells?', 'name who or what reports it'),
    'somebody': (r'somebody|whoever|nobody', 'name the role, or write a passive'),
    'dealt': (r'dealt', 'shuffled'),
    'held against': (r'held against', 'compared with, validated against'),
    'goes to work': (r'goes? to work|serves again', 'be promoted, become champion again'),
    'so far': (r'so far', 'was … before'),
    'catalogue': (r'catalogues?', 'catalog'),
    'alarm': (r'alarms?', 'alert'),
    'audit chain': (r'audit chain', 'audit log'),
    'let in': (r'let in', 'released'),
    'put right': (r'put right', 'repaired'),
    'gives the label away': (r'gives? the label away', 'leakage'),
    '2.9 %': (r'\d %', 'no space before %'),
}
PATTERNS = {
    word: re.compile(rf'(?<![\w`-])(?:{form})(?![\w`-])', re.IGNORECASE) for word, (form, _) in WORDS.items()
}


def literals(source: str) -> Iterator[str]:
    "The texts in Python code: string literals with a space in them, so no keys and no names."
    try:
        tree = ast.parse(re.sub(r'(?m)^(\s*)[%!].*$', r'\1pass', source))
    except SyntaxError:  # not Python
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ' ' in node.value:
            yield node.value


def texts(path: Path) -> Iterator[str]:
    "What people read of a file."
    if path.suffix != '.ipynb':
        yield path.read_text(encoding='utf-8')
        return
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown':
            yield source
        elif '#| export' in source:
            yield from literals(source)


def files() -> list[Path]:
    "The files that people's texts come from."
    found = [*ROOT.glob('nbs/**/*.ipynb'), *ROOT.glob('examples/**/*.ipynb'), ROOT / 'settings.ini']
    found += [path for path in ROOT.glob('mlops_nb/templates/**/*') if path.suffix in ('.html', '.jinja')]
    found += [ROOT / 'CONTRIBUTING.md', *ROOT.glob('flows/*.py')]
    return sorted(path for path in found if '.ipynb_checkpoints' not in path.parts)


def count() -> Counter[tuple[str, str]]:
    "How often each file has each word to avoid."
    found: Counter[tuple[str, str]] = Counter()
    for path in files():
        for text in texts(path):
            for word, pattern in PATTERNS.items():
                found[str(path.relative_to(ROOT)), word] += len(pattern.findall(text))
    return +found


def listed() -> Counter[tuple[str, str]]:
    "What the list says is there."
    lines = TODAY.read_text(encoding='utf-8').splitlines()
    return Counter({(path, word): int(number) for path, word, number in (line.split('\t') for line in lines)})


def main() -> int:
    "Compare what is there with the list; 1 when they differ."
    found, known = count(), listed()
    grown = {key: number for key, number in found.items() if number > known[key]}
    for (path, word), number in sorted(grown.items()):
        print(f'{path}: {number} times {word!r}, {known[path, word]} in the list; write: {WORDS[word][1]}')
    if grown:
        return 1
    if '--update' in sys.argv:
        lines = (f'{path}\t{word}\t{number}\n' for (path, word), number in sorted(found.items()))
        TODAY.write_text(''.join(lines), encoding='utf-8')
    elif found != known:
        print('The list is longer than what is there: python tools/check_words.py --update')
        return 1
    print(f'{found.total()} words to avoid are left, in {len({path for path, _ in found})} files')
    return 0


if __name__ == '__main__':
    sys.exit(main())
