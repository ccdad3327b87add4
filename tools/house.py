"""Draw the packages and their imports from the code: python tools/house.py [--check]

Writes nbs/images/house.svg, which CONTRIBUTING.md shows; with --check it says whether the picture is today's.
"""

import sys
from html import escape
from pathlib import Path

from check_floors import FLOORS, PACKAGE, imports, numbers, targets

PICTURE = Path(__file__).resolve().parent.parent / 'nbs' / 'images' / 'house.svg'
CELL, LEFT, TOP = 26, 190, 96


def edges() -> dict[str, set[str]]:
    "The packages that each package imports from."
    modules = {*numbers(), *FLOORS}
    found: dict[str, set[str]] = {package: set() for package in FLOORS}
    for path in PACKAGE.rglob('*.py'):
        package = path.relative_to(PACKAGE).parts[0]
        if package in FLOORS:
            for _, name, names in imports(path):
                found[package] |= {target.partition('.')[0] for target in targets(name, names, modules)}
    return {package: (below & {*FLOORS}) - {package} for package, below in found.items()}


def text(x: float, y: float, words: str, **style: str) -> str:
    "A piece of text."
    about = ''.join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
    return f'<text x="{x:.0f}" y="{y:.0f}"{about}>{escape(words)}</text>'


def square(x: float, y: float, size: float, fill: str) -> str:
    "A filled square."
    return f'<rect x="{x:.0f}" y="{y:.0f}" width="{size:.0f}" height="{size:.0f}" rx="3" fill="{fill}"/>'


def picture() -> str:
    "A row for each package, a blue square for each package that it imports from; the same for the same code."
    order = sorted(FLOORS, key=lambda package: -FLOORS[package])
    below, side = edges(), CELL * len(FLOORS)
    width, height = LEFT + side + 16, TOP + side + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        ' font-family="system-ui, sans-serif" font-size="13" fill="#222">',
        '<title>Which package imports which: all lies above the diagonal, so imports only go down</title>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for place, package in enumerate(order):
        x, y = LEFT + place * CELL, TOP + place * CELL
        count = len(list((PACKAGE / package).glob('[!_]*.py')))
        lines.append(text(34, y + 18, package, font_weight='600'))
        lines.append(text(14, y + 18, str(FLOORS[package]), fill='#6b6b6b', text_anchor='middle'))
        lines.append(
            text(LEFT - 10, y + 18, f'{count} modules', fill='#6b6b6b', font_size='11', text_anchor='end')
        )
        lines.append(text(x + 17, TOP - 8, package, transform=f'rotate(-60 {x + 17} {TOP - 8})'))
        for other, name in enumerate(order):
            fill = '#0072b2' if name in below[package] else '#444' if name == package else '#eef1f4'
            lines.append(square(LEFT + other * CELL + 2, y + 2, CELL - 4, fill))
    return '\n'.join([*lines, '</svg>']) + '\n'


def main() -> int:
    "Write the picture, or say whether it is today's."
    drawn = picture()
    if '--check' not in sys.argv:
        PICTURE.write_text(drawn, encoding='utf-8')
    elif not PICTURE.exists() or PICTURE.read_text(encoding='utf-8') != drawn:
        print(f'{PICTURE.name} is not what the code gives; run `python tools/house.py`')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
