"""Check that imports only go down: a module imports public names of its own floor or of lower ones."""

import ast
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PACKAGE = TOP / 'mlops_nb'
# A module's floor is the first digit of its notebook's number: nbs/lib/325_execute.ipynb is on floor 3.
FLOORS = {path.stem[4:]: int(path.stem[0]) for path in sorted((TOP / 'nbs' / 'lib').glob('*.ipynb'))}
# The one module that may import each of these: what is heavy, or what must stay replaceable.
OWNERS = {
    'matplotlib': {'figures', 'trends'},
    'metaflow': {'flow', 'card', 'runs'},
    'papermill': {'execute', 'papermill_engine'},
    'ipykernel': {'shell', 'execute', 'hold'},
    'IPython': {'shell', 'restore', 'execute'},
    'whylogs': {'profile'},
    'skops': {'artifact'},
}


def imports(tree: ast.Module) -> list[tuple[int, str, list[str]]]:
    "Every import of a module: line, module's full name, imported names."
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = 'mlops_nb' if node.level else ''
            name = '.'.join(part for part in (base, node.module or '') if part)
            found.append((node.lineno, name, [alias.name for alias in node.names]))
    return found


def targets(name: str, names: list[str]) -> list[str]:
    "The modules of this package that an import reaches."
    parts = name.split('.')
    if parts[0] != 'mlops_nb':
        return []
    return [parts[1]] if len(parts) > 1 else names


def findings(path: Path, graph: dict[str, set[str]]) -> list[str]:
    "What is wrong with the imports of one module; its edges are added to the graph."
    module, found = path.stem, []
    if module not in FLOORS:
        return [f'mlops_nb/{path.name} has no notebook nbs/lib/NNN_{module}.ipynb, and so no floor']
    for line, name, names in imports(ast.parse(path.read_text(encoding='utf-8'))):
        where = f'mlops_nb/{path.name}:{line}'
        owner = OWNERS.get(name.split('.')[0])
        if owner is not None and module not in owner:
            found.append(f'{where}: imports {name}; only {", ".join(sorted(owner))} may')
        for target in targets(name, names):
            if target not in FLOORS:
                continue
            graph.setdefault(module, set()).add(target)
            if FLOORS[target] > FLOORS[module]:
                found.append(f'{where}: floor {FLOORS[module]} imports {target} of floor {FLOORS[target]}')
            private = [n for n in names if n.startswith('_')]
            if private:
                found.append(f'{where}: imports private names {private} of {target}')
    return found


def cycle(graph: dict[str, set[str]]) -> list[str]:
    "A cycle of imports, if there is one."
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            if found := walk(target, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := walk(module, []))), [])


def main() -> int:
    "Print what is wrong; 1 when something is."
    graph: dict[str, set[str]] = {}
    paths = [p for p in sorted(PACKAGE.glob('*.py')) if not p.stem.startswith('_')]
    found = [line for path in paths for line in findings(path, graph)]
    if loop := cycle(graph):
        found.append(f'imports go in a circle: {" → ".join(loop)}')
    print('\n'.join(found) if found else f'{len(paths)} modules, imports only go down')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
