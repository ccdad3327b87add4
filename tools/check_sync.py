"""Prove that the committed package is what the notebooks give: export a copy from nothing, and compare."""

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SKIPPED = shutil.ignore_patterns('.*', '__pycache__', 'dist', 'build')


def run(*command: str | Path, folder: Path) -> None:
    "Run a command in a folder; its failure is ours."
    subprocess.run([str(part) for part in command], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def differences(project: Path, package: str) -> list[str]:
    "Files of a project that differ after deleting the generated modules, cleaning and exporting again."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, 'copy')
        shutil.copytree(project, copy, ignore=SKIPPED)
        generated = [p for p in (copy / package).glob('*.py') if p.name != '__init__.py']
        for path in generated:
            path.unlink()
        notebooks = sorted(p.relative_to(copy) for p in (copy / 'nbs').rglob('*.ipynb'))
        run(BIN / 'nbdev-clean', folder=copy)
        run(BIN / 'nbdev-export', folder=copy)
        modules = sorted(p.relative_to(copy) for p in (copy / package).glob('*.py'))
        committed = sorted(p.relative_to(project) for p in (project / package).glob('*.py'))
        names = sorted({*notebooks, *modules, *committed})
        return [
            str(name)
            for name in names
            if not (project / name).exists()
            or not (copy / name).exists()
            or not filecmp.cmp(project / name, copy / name, shallow=False)
        ]


def main() -> int:
    "Compare both projects of this repository; 1 when something differs."
    found = differences(ROOT, 'mlops_nb')
    found += [f'examples/flights/{name}' for name in differences(ROOT / 'examples' / 'flights', 'flights')]
    found += (
        []
        if subprocess.run([sys.executable, 'tools/readme.py', '--check'], cwd=ROOT).returncode == 0
        else ['README.md']
    )
    for name in found:
        print(f'{name} is not what the notebooks give; run `nbdev-clean` and `make export`, and commit both')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
