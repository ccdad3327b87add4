"""Check that what profiles stand on has wheels where whylogs has none: python tools/check_platforms.py

Asks pip for the wheels that constraints.txt pins, for machines other than this one; needs the package index.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = (
    'numpy',
    'pyarrow',
    'protobuf',
    'datasketches',
    'pandas',
    'scikit-learn',
    'matplotlib',
    'duckdb',
    'scipy',
)
MACHINES = {
    'Apple Silicon, Python 3.13': ['--platform', 'macosx_14_0_arm64', '--python-version', '3.13'],
    'Linux on ARM, Python 3.12': ['--platform', 'manylinux_2_28_aarch64', '--python-version', '3.12'],
    'Linux on Intel, Python 3.13': ['--platform', 'manylinux_2_28_x86_64', '--python-version', '3.13'],
}


def pinned() -> list[str]:
    "The versions that constraints.txt gives of what is needed."
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    return [line for line in lines if line.partition('==')[0].lower() in NEEDED]


def main() -> int:
    "Print what can't be had; 1 when something can't."
    bad = 0
    for machine, options in MACHINES.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check']
            command += ['--no-deps', '--only-binary', ':all:', '--dest', folder, *options, *pinned()]
            # an older glibc's wheels fit a newer one, too
            command += ['--platform', options[1].replace('2_28', '2_17')]
            done = subprocess.run(command, capture_output=True, text=True)
        bad += bool(done.returncode)
        why = next((line for line in done.stderr.splitlines() if line.startswith('ERROR')), 'no wheel')
        print(f'{machine}: {why if done.returncode else f"{len(pinned())} wheels"}')
    return bad > 0


if __name__ == '__main__':
    sys.exit(main())
