"""papermill's own command line with our engine: where notebooks are read and written, and its options."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import nbformat
import pytest
from moto.server import ThreadedMotoServer
from small import cell, write_notebook

Papermill = Callable[..., 'subprocess.CompletedProcess[str]']
PYTHON = {'kernelspec': {'name': 'python3', 'language': 'python', 'display_name': 'Python 3'}}


@pytest.fixture
def papermill(tmp_path: Path) -> Papermill:
    "The command, as a person types it."

    def run(*arguments: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, '-m', 'papermill', *map(str, arguments), '--engine', 'mlops-nb']
        given: dict[str, Any] = {'stdin': subprocess.DEVNULL} if text is None else {'input': text}
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, **given)

    return run


def save(path: Path, *cells: dict[str, object]) -> Path:
    "A notebook that says its language, as papermill asks for."
    write_notebook(path, *cells)
    path.write_text(json.dumps({**json.loads(path.read_text()), 'metadata': PYTHON}))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    "A notebook with a parameter."
    return save(tmp_path / 'in.ipynb', cell('month: int = 6', 'parameters'), cell('print("month", month)'))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    "A client of a server of S3's protocol here, which has one bucket."
    server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    server.start()
    url = 'http://{}:{}'.format(*server.get_host_and_port())
    for name, value in {
        'AWS_ACCESS_KEY_ID': 'ada',
        'AWS_SECRET_ACCESS_KEY': 'ada',
        'AWS_DEFAULT_REGION': 'us-east-1',
        'AWS_ENDPOINT_URL': url,
        'BOTO3_ENDPOINT_URL': url,
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client('s3')
    client.create_bucket(Bucket='notebooks')
    yield client
    server.stop()


def test_notebooks_are_read_from_a_store_and_written_to_it(papermill, source, bucket) -> None:
    bucket.put_object(Bucket='notebooks', Key='in.ipynb', Body=source.read_bytes())
    source.unlink()
    done = papermill('s3://notebooks/in.ipynb', 's3://notebooks/done/out.ipynb', '-p', 'month', 7)
    assert done.returncode == 0, done.stderr
    written = bucket.get_object(Bucket='notebooks', Key='done/out.ipynb')['Body'].read().decode()
    executed = nbformat.reads(written, 4)
    assert executed.cells[-1].outputs[0].text == 'month 7\n'
    assert executed.metadata.papermill.output_path == 's3://notebooks/done/out.ipynb'


def test_values_for_a_notebook_in_a_store_are_checked(papermill, source, bucket) -> None:
    bucket.put_object(Bucket='notebooks', Key='in.ipynb', Body=source.read_bytes())
    done = papermill('s3://notebooks/in.ipynb', 's3://notebooks/refused.ipynb', '-p', 'mnoth', 7)
    assert done.returncode == 1 and "Did you mean 'month'?" in done.stderr
    kept = [one['Key'] for one in bucket.list_objects(Bucket='notebooks')['Contents']]
    assert 'in.ipynb' in kept and 'refused.ipynb' not in kept


def test_a_notebook_comes_from_standard_input_and_goes_to_standard_output(papermill, source) -> None:
    done = papermill('-', '-', '-p', 'month', 8, text=source.read_text())
    assert done.returncode == 0, done.stderr
    assert nbformat.reads(done.stdout, 4).cells[-1].outputs[0].text == 'month 8\n'


@pytest.mark.parametrize(
    'arguments',
    [('-y', 'month: 9'), ('-f', 'values.yaml'), ('-r', 'month', '9'), ('-b', 'bW9udGg6IDk=')],
    ids=lambda arguments: arguments[0],
)
def test_parameters_come_in_each_of_its_ways(papermill, source, tmp_path, arguments) -> None:
    (tmp_path / 'values.yaml').write_text('month: 9')
    done = papermill('in.ipynb', 'out.ipynb', *arguments)
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(tmp_path / 'out.ipynb', 4)
    assert executed.cells[-1].outputs[0].text == 'month 9\n'
    assert executed.cells[1].source == '# Parameters\nmonth = 9'


def test_its_own_paths_need_not_be_declared(papermill, tmp_path) -> None:
    save(tmp_path / 'in.ipynb', cell('month: int = 6', 'parameters'), cell('PAPERMILL_INPUT_PATH'))
    done = papermill('in.ipynb', 'out.ipynb', '--inject-paths', '-p', 'month', 7)
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(tmp_path / 'out.ipynb', 4)
    assert executed.cells[-1].outputs[0].data['text/plain'] == "'in.ipynb'"


def test_what_is_shown_in_a_long_cell_is_saved_meanwhile(papermill, tmp_path) -> None:
    waits = """
import time
from pathlib import Path
from IPython.display import display
text = 'the ' + 'first'
display(text)
while text not in Path('out.ipynb').read_text():
    time.sleep(0.1)
    display('more')
"""
    save(tmp_path / 'in.ipynb', cell(waits))
    done = papermill('in.ipynb', 'out.ipynb', '--autosave-cell-every', 1, '--execution-timeout', 300)
    assert done.returncode == 0, done.stderr


def test_a_time_limit_ends_a_cell(papermill, tmp_path) -> None:
    save(tmp_path / 'in.ipynb', cell('import time\ntime.sleep(600)'), cell('1'))
    done = papermill('in.ipynb', 'out.ipynb', '--execution-timeout', 1)
    assert done.returncode == 1 and 'CellTimeout' in done.stderr
    executed = nbformat.read(tmp_path / 'out.ipynb', 4)
    status = [one.metadata.papermill.status for one in executed.cells if 'papermill' in one.metadata]
    assert status == ['failed', 'pending']


def test_a_report_hides_its_code(papermill, source, tmp_path) -> None:
    done = papermill('in.ipynb', 'out.ipynb', '--report-mode', '-p', 'month', 7)
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(tmp_path / 'out.ipynb', 4)
    assert [one.metadata.jupyter.source_hidden for one in executed.cells] == [True, True, True]


def test_what_cells_say_goes_to_the_log(papermill, source) -> None:
    done = papermill('in.ipynb', 'out.ipynb', '--log-output')
    assert done.returncode == 0 and 'month 6' in done.stderr
    said = done.stderr
    assert said.index('Executing Cell 2') < said.index('month 6') < said.index('Ending Cell 2')


def test_a_notebook_imports_what_lies_beside_it_wherever_it_runs(papermill, tmp_path) -> None:
    path = save(tmp_path / 'nbs' / 'in.ipynb', cell('import beside_it, os\nos.getcwd()'))
    (path.parent / 'beside_it.py').touch()
    (tmp_path / 'work').mkdir()
    done = papermill('nbs/in.ipynb', 'out.ipynb', '--cwd', 'work')
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(tmp_path / 'out.ipynb', 4)
    assert executed.cells[0].outputs[0].data['text/plain'] == repr(str(tmp_path / 'work'))


def test_leaving_early_is_no_failure(papermill, tmp_path) -> None:
    save(tmp_path / 'in.ipynb', cell('exit()'), cell('1'))
    done = papermill('in.ipynb', 'out.ipynb')
    assert done.returncode == 0, done.stderr
    assert not nbformat.read(tmp_path / 'out.ipynb', 4).metadata.papermill.exception
