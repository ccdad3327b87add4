"""Check the house: imports go down, what is heavy has one owner, no module hides a public name.

Between packages imports go to lower floors, inside a package to notebooks of smaller numbers.
"""

import ast
import json
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PACKAGE, NOTEBOOKS = TOP / 'mlops_nb', TOP / 'nbs' / 'lib'
# The floor of each package: a module imports from its own package and from packages of lower floors.
FLOORS = {
    'core': 0, 'pages': 1, 'tables': 1, 'notebooks': 2, 'store': 2, 'contracts': 2, 'profiles': 3,
    'features': 4, 'drift': 4, 'data': 5, 'models': 6, 'connectors': 6, 'flows': 7, 'review': 8,
    'projects': 9, 'plugins': 10, 'cli': 10, 'jupyter': 11,
}  # fmt: skip
# Nothing imports these: other programs load them by their entry points.
ENDS = 'connectors', 'plugins', 'jupyter'
# The packages or modules that may import each of these: what is heavy, or what must stay replaceable.
OWNERS = {
    'matplotlib': ('pages', 'profiles.plots'),
    'metaflow': ('flows',),
    'papermill': ('notebooks', 'plugins.papermill_engine'),
    'ipykernel': ('notebooks',),
    'IPython': ('notebooks',),
    'whylogs': ('profiles.batch',),
    'skops': ('store.artifacts',),
    'tornado': ('jupyter',),
    'jupyter_server': ('jupyter',),
}


def numbers() -> dict[str, int]:
    "The number of each module's notebook: nbs/lib/store/060_store.ipynb is 60 for store.store."
    paths = sorted(NOTEBOOKS.rglob('*.ipynb'))
    return {
        f'{path.parent.name}.{path.stem[4:]}': int(path.stem[:3])
        for path in paths
        if path.parent != NOTEBOOKS
    }


def module_of(path: Path) -> str:
    "'store.store' for mlops_nb/store/store.py; a face is called by its package."
    return '.'.join(part for part in path.relative_to(PACKAGE).with_suffix('').parts if part != '__init__')


def imports(path: Path) -> list[tuple[int, str, list[str]]]:
    "Every import of a module: line, full name, imported names."
    found: list[tuple[int, str, list[str]]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = ['mlops_nb', *path.relative_to(PACKAGE).parts[:-1]]
            base = here[: len(here) - node.level + 1] if node.level else []
            name = '.'.join([*base, *([node.module] if node.module else [])])
            found.append((node.lineno, name, [alias.name for alias in node.names]))
    return found


def targets(name: str, names: list[str], modules: set[str]) -> list[str]:
    "The modules and faces of this library that an import reaches."
    if name.split('.')[0] != 'mlops_nb':
        return []
    inner = name.removeprefix('mlops_nb').lstrip('.')
    below = [f'{inner}.{one}'.lstrip('.') for one in names]
    return [one if one in modules else inner for one in below] or [inner]


def faults(path: Path, modules: dict[str, int]) -> list[str]:
    "What is wrong with the imports of one module."
    module, found = module_of(path), []
    if not module:  # the face of the whole, which shows all of them
        return []
    package = module.partition('.')[0]
    where = path.relative_to(TOP)
    if '.' in module and module not in modules:
        return [f'{where} has no notebook nbs/lib/{package}/NNN_{path.stem}.ipynb']
    is_face = '.' not in module
    for line, name, names in imports(path):
        owners = OWNERS.get(name.split('.')[0], (package,))
        if package not in owners and module not in owners:
            found.append(f'{where}:{line}: imports {name}; only {", ".join(owners)} may')
        for target in targets(name, names, {*modules, *FLOORS}):
            there = target.partition('.')[0]
            if target == module or there not in FLOORS:
                continue
            if target in FLOORS and not is_face:
                found.append(
                    f'{where}:{line}: imports the face {target}; expected the module that has the name'
                )
            elif there == package:
                if not is_face and modules.get(target, 0) >= modules[module]:
                    found.append(f'{where}:{line}: imports {target}, whose notebook has no smaller number')
            elif FLOORS[there] >= FLOORS[package]:
                found.append(
                    f'{where}:{line}: floor {FLOORS[package]} imports {target} of floor {FLOORS[there]}'
                )
            elif there in ENDS:
                found.append(f'{where}:{line}: imports {target}; nothing imports {there}')
            if any(one.startswith('_') and not one.startswith('__') for one in names):
                found.append(f'{where}:{line}: imports private names of {target}')
    return found


def face_faults(package: str) -> list[str]:
    "Modules of a package that bear a public name of its face: they would take its place when imported."
    tree = ast.parse((PACKAGE / package / '__init__.py').read_text(encoding='utf-8'))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == 'face']
    listed = {k.arg: ast.literal_eval(k.value).split() for call in calls for k in call.keywords if k.arg}
    shown = {name for names in listed.values() for name in names}
    declared = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    } - {'annotations', 'TYPE_CHECKING', 'face'}
    modules = {path.stem for path in (PACKAGE / package).glob('*.py')}
    found = [
        f'mlops_nb/{package}/{name}.py has a public name of its package' for name in sorted(modules & shown)
    ]
    found += [
        f'mlops_nb/{package}: {name} is shown to people or to type checkers only' for name in shown ^ declared
    ]
    return found


def homes() -> list[str]:
    "Notebooks that do not export to the module that their place says, and what lies loose at the top."
    found = []
    for path in sorted(NOTEBOOKS.rglob('*.ipynb')):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        source = next((''.join(c['source']) for c in cells if 'default_exp' in ''.join(c['source'])), '')
        package = '' if path.parent == NOTEBOOKS else f'{path.parent.name}.'
        name = '__init__' if path.stem == '000_init' else path.stem[4:]
        if source.split()[-1:] != [f'{package}{name}']:
            found.append(
                f'{path.relative_to(TOP)} exports to {source or "nothing"}; expected {package}{name}'
            )
    loose = [p.name for p in PACKAGE.glob('*.py') if p.stem not in ('__init__', '_modidx')]
    return found + [f'mlops_nb/{name} lies loose; expected it in a package' for name in loose]


def main() -> int:
    "Print what is wrong; 1 when something is."
    modules = numbers()
    paths = [p for p in sorted(PACKAGE.rglob('*.py')) if p.stem != '_modidx' and 'migrations' not in p.parts]
    found = homes() + [line for path in paths for line in faults(path, modules)]
    found += [line for package in FLOORS for line in face_faults(package)]
    unknown = {path.parent.name for path in PACKAGE.glob('*/__init__.py')} - {*FLOORS, 'migrations'}
    found += [f'mlops_nb/{name} has no floor' for name in sorted(unknown)]
    entries = len(list(PACKAGE.iterdir()))
    fine = (
        f'{len(paths)} modules in {len(FLOORS)} packages, {entries} entries at the top; imports only go down'
    )
    print('\n'.join(found) if found else fine)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
