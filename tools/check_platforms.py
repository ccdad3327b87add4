"""Check that this release installs where whylogs has no wheels: python tools/check_platforms.py

Asks pip to resolve the dependencies, with the versions that constraints.txt pins and from wheels alone, for
machines other than this one; needs the package index. Markers of dependencies' own dependencies are those of
this machine, since pip knows no others.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = 'lab', 'postgres'  # the tour's data come as source alone
MACHINES = {
    'Apple Silicon, Python 3.13': ('macosx_14_0_arm64', '3.13', 'darwin', 'arm64'),
    'Linux on ARM, Python 3.12': ('manylinux_2_28_aarch64', '3.12', 'linux', 'aarch64'),
    'Linux on Intel, Python 3.13': ('manylinux_2_28_x86_64', '3.13', 'linux', 'x86_64'),
}


def wanted(python: str, system: str, machine: str) -> list[str]:
    "The dependencies that pyproject.toml declares for a machine."
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    lines = [*project['dependencies'], *(x for e in EXTRAS for x in project['optional-dependencies'][e])]
    here = {'python_version': python, 'sys_platform': system, 'platform_machine': machine}
    needed = [one for one in map(Requirement, lines) if not one.marker or one.marker.evaluate(here)]
    return [str(one).partition(';')[0].strip() for one in needed]


def main() -> int:
    "Print what can't be had; 1 when something can't."
    bad = 0
    for name, (platform, python, system, machine) in MACHINES.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, '-m', 'pip', 'install', '--dry-run', '--ignore-installed', '--quiet']
            command += ['--disable-pip-version-check', '--only-binary', ':all:', '--target', folder]
            command += ['--constraint', str(ROOT / 'constraints.txt'), '--python-version', python]
            # an older glibc's wheels fit a newer one, too
            command += ['--platform', platform, '--platform', platform.replace('2_28', '2_17')]
            command += (packages := wanted(python, system, machine))
            done = subprocess.run(command, capture_output=True, text=True)
        bad += bool(done.returncode)
        why = next((line for line in done.stderr.splitlines() if line.startswith('ERROR')), 'no wheel')
        print(f'{name}: {why if done.returncode else f"{len(packages)} dependencies and all that they need"}')
    return bad > 0


if __name__ == '__main__':
    sys.exit(main())
