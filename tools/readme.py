"""Write README.md from nbs/index.ipynb: its prose, its code, and the outputs that its last run left in it.

python tools/readme.py          write README.md
python tools/readme.py --check  say whether README.md is what the notebook gives (exit code 1 if not)
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = '#| hide', '#|hide'


def text_of(output: dict) -> str:
    "An output as text; pictures are files of their own, named in the prose."
    source = output.get('text') or output.get('data', {}).get('text/plain', '')
    return ''.join(source)


def markdown(cell: dict) -> str:
    "One cell as Markdown; nothing for a hidden one."
    source = ''.join(cell['source'])
    if cell['cell_type'] == 'markdown':
        return source
    if source.startswith(HIDDEN) or not source.strip():
        return ''
    outputs = ''.join(text_of(output) for output in cell['outputs']).rstrip()
    shown = f'```python\n{source}\n```'
    return f'{shown}\n\n```text\n{outputs}\n```' if outputs else shown


def main() -> int:
    "Write or check README.md."
    cells = json.loads((ROOT / 'nbs' / 'index.ipynb').read_text(encoding='utf-8'))['cells']
    note = '<!-- Generated from nbs/index.ipynb by tools/readme.py: edit the notebook. -->'
    wanted = '\n\n'.join(part for part in [note, *map(markdown, cells)] if part) + '\n'
    readme = ROOT / 'README.md'
    if '--check' in sys.argv:
        return 0 if readme.exists() and readme.read_text(encoding='utf-8') == wanted else 1
    readme.write_text(wanted, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
