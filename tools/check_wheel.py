"""Build the wheel, install it in a bare environment, and use it there, away from the source tree."""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSIDE = (
    'mlops_nb/py.typed',
    'mlops_nb/core/moved.txt',
    'mlops_nb/templates/',
    'mlops_nb/migrations/',
    'mlops_nb/shipped/settings.ini',
    'share/jupyter/labextensions/mlops-nb/static/remoteEntry.js',
    'etc/jupyter/jupyter_server_config.d/mlops_nb.json',
    'mlops_nb/shipped/flows/train.py',
    'mlops_nb/shipped/examples/flights/nbs/train.ipynb',
    'mlops_nb/templates/project/nbs/train.py.jinja',
)
TABLES = """
from sklearn.datasets import load_breast_cancer, load_diabetes
load_breast_cancer(as_frame=True).frame.to_csv('tumours.csv', index=False)
load_diabetes(as_frame=True).frame.to_parquet('sugar.parquet')
"""
FIRST_MINUTES = """
drift check tumours.csv --against tumours.csv
new tumours --data tumours.csv --label target
new sugar --data sugar.parquet --label target
"""
PROGRAM = """
import sys, time
started = time.perf_counter()
import mlops_nb
from mlops_nb.core.settings import shipped
assert 'site-packages' in mlops_nb.__file__, mlops_nb.__file__
for name in 'settings.ini', 'flows', 'examples/flights':
    assert shipped(name).exists(), name
import importlib, pkgutil
for module in pkgutil.walk_packages(mlops_nb.__path__, 'mlops_nb.'):
    # each of these is imported by a program of others, the last two by one that is not installed here
    if module.name.split('.')[1] not in ('plugins', 'jupyter', 'migrations', '_modidx'):
        importlib.import_module(module.name)
import papermill
from mlops_nb.plugins import papermill_engine
print('imported', mlops_nb.__version__)
"""


def run(*command: str | Path, folder: Path) -> str:
    "Run a command in a folder; its failure is ours."
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run(
        [str(p) for p in command], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE
    )
    if done.returncode:
        sys.exit(f'{" ".join(map(str, command[:4]))} … ended with {done.returncode}\n{done.stdout}')
    return done.stdout


def first_minutes(folder: Path, bin_: Path) -> None:
    "From two files of scikit-learn's to two promoted models, with what the wheel brings and nothing more."
    run(bin_ / 'python', '-c', TABLES, folder=folder)
    for line in FIRST_MINUTES.strip().splitlines():
        run(bin_ / 'mlops-nb', *line.split(), folder=folder)
    for name in 'tumours', 'sugar':
        run(bin_ / 'mlops-nb', 'flow', 'train', 'run', folder=folder / name)
        promote = 'models', 'promote', f'{name}@1', 'champion', '--why', 'the first one'
        print(run(bin_ / 'mlops-nb', *promote, folder=folder / name).strip())


def main() -> None:
    "Build, look inside, install, import, run."
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', folder, folder=ROOT)
        (wheel,) = folder.glob('*.whl')
        listing = run(sys.executable, '-m', 'zipfile', '-l', wheel, folder=folder)
        for inside in INSIDE:
            if inside not in listing:
                sys.exit(f'{wheel.name} has no {inside}')
        venv.create(folder / 'bare', with_pip=True)
        python = folder / 'bare' / 'bin' / 'python'
        run(
            python,
            '-m',
            'pip',
            'install',
            '--quiet',
            '--constraint',
            ROOT / 'constraints.txt',
            wheel,
            folder=folder,
        )
        print(run(python, '-c', PROGRAM, folder=folder).strip())
        print(run(folder / 'bare' / 'bin' / 'mlops-nb', '--help', folder=folder).splitlines()[1].strip())
        run(folder / 'bare' / 'bin' / 'mlops-nb', 'tour', '--copy-only', folder / 'tour', folder=folder)
        first_minutes(folder, folder / 'bare' / 'bin')
        print(f'{wheel.name} works in a bare environment')


if __name__ == '__main__':
    main()
