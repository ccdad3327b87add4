"""Notebooks in another language run in its kernel, by the same function and command."""

import json
import sys

import pytest

from mlops_nb.notebooks import read_notebook, run_notebook

KERNEL = {
    'argv': [sys.executable, '-m', 'bash_kernel', '-f', '{connection_file}'],
    'display_name': 'Bash',
    'language': 'bash',
}


@pytest.fixture
def bash(tmp_path, monkeypatch):
    "A notebook in Bash, and a kernel for it."
    (tmp_path / 'kernels' / 'bash').mkdir(parents=True)
    (tmp_path / 'kernels' / 'bash' / 'kernel.json').write_text(json.dumps(KERNEL))
    monkeypatch.setenv('JUPYTER_PATH', str(tmp_path))
    kernel = {'name': 'bash', 'language': 'bash', 'display_name': 'Bash'}
    cells = [
        {'source': 'depth=6\nname=nobody', 'metadata': {'tags': ['parameters']}},
        {'source': 'echo "$name: $((depth * 7))"', 'metadata': {}},
    ]
    code = {'cell_type': 'code', 'outputs': [], 'execution_count': None}
    content = {'cells': [{**code, **cell} for cell in cells], 'metadata': {'kernelspec': kernel}}
    path = tmp_path / 'in.ipynb'
    path.write_text(json.dumps({**content, 'nbformat': 4, 'nbformat_minor': 4}))
    return path


def said(cells):
    return [output['text'] for cell in cells for output in cell.get('outputs', ()) if 'text' in output]


def test_values_reach_a_notebook_in_another_language(bash, tmp_path):
    values = {'depth': 8, 'name': "it's ada & co"}
    done = run_notebook(bash, values, output=tmp_path / 'out.ipynb', engine='kernel').check()
    assert said(done.notebook['cells']) == ["it's ada & co: 56\n"]
    assert done.notebook['metadata']['language_info']['name'] == 'bash'


def test_the_command_runs_a_notebook_in_another_language(bash, tmp_path, mlops):
    words = ['exec', 'in.ipynb', '-o', 'out.ipynb', '-p', 'depth', '3', '--engine', 'kernel']
    done = mlops(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said_by_lines = said(read_notebook(tmp_path / 'out.ipynb').cells)
    assert [''.join(text) for text in said_by_lines] == ['nobody: 21\n']


def test_a_cell_that_fails_in_another_language_ends_its_notebook(bash):
    content = json.loads(bash.read_text())
    content['cells'][1]['source'] = 'echo before; false'
    bash.write_text(json.dumps(content))
    done = run_notebook(bash, engine='kernel')
    assert done.error is not None
    assert said(done.notebook['cells']) == ['before\n']
