"""Many notebooks in one process leave each other alone, and what they run in."""

import logging
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_nb.notebooks import Notebook, run_notebook

PROGRAM = """
import sys
from pathlib import Path
from mlops_nb.notebooks import run_notebook
from mlops_nb.notebooks import as_notebook

def run(*sources):
    cells = [{'cell_type': 'code', 'source': source} for source in sources]
    done = run_notebook(as_notebook({'nbformat': 4, 'cells': cells}, Path('x.ipynb'))).check()
    outputs = [output for cell in done.notebook['cells'] for output in cell['outputs']]
    return [output.get('text') or output['data']['text/plain'] for output in outputs]
"""


def run(*sources, path='x.ipynb'):
    "What the cells put out, as text."
    cells = [
        {'cell_type': 'code', 'source': one, 'metadata': {}, 'outputs': [], 'execution_count': None}
        for one in sources
    ]
    content = {'cells': cells, 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 4}
    done = run_notebook(Notebook(Path(path), content)).check()
    outputs = [output for cell in done.notebook['cells'] for output in cell['outputs']]
    return [output.get('text') or output['data']['text/plain'] for output in outputs]


def python(source, folder):
    "What a program of its own prints."
    command = [sys.executable, '-c', PROGRAM + source]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


SET = 'pd.set_option("display.max_rows", 7); pd.options.display.precision = 2'
SHOW = 'print(pd.options.display.max_rows, pd.options.display.precision)'


def test_options_of_pandas_stay_in_their_notebook(tmp_path):
    with pd.option_context('display.max_rows', 30):
        assert run('import pandas as pd', SET, SHOW) == ['7 2\n']
        assert pd.get_option('display.max_rows') == 30
    first = f'print(*[run("import pandas as pd", {SHOW!r}, {SET!r}) for _ in range(2)])'
    assert python(first, tmp_path) == [r"['60 6\n'] ['60 6\n']"]


def test_what_numpy_prints_and_raises_stays_in_its_notebook():
    cells = 'import numpy as np', 'np.set_printoptions(precision=2); old = np.seterr(all="raise")'
    assert run(*cells, 'print(np.array([1 / 3]), np.geterr()["divide"])') == ['[0.33] raise\n']
    assert str(np.array([1 / 3])) == '[0.33333333]'
    assert np.geterr()['divide'] == 'warn'


def test_random_numbers_of_a_notebook_are_its_own():
    random.seed(0)
    np.random.seed(0)
    expected = random.Random(0).random(), np.random.RandomState(0).rand()
    draw = 'import random\nimport numpy as np\nprint(random.random(), np.random.rand())'
    first, second = run(draw), run(draw)
    assert first != second
    assert (random.random(), np.random.rand()) == expected


def test_two_notebooks_may_each_have_a_module_of_the_same_name_beside_them(tmp_path):
    for name in 'ab':
        package = tmp_path / name / 'helpers'
        package.mkdir(parents=True)
        (package / '__init__.py').write_text(f'name = {name!r}')
        (package / 'deep.py').write_text(f'name = {name!r} * 2')
        (tmp_path / name / 'helper.py').write_text('import helpers.deep as deep')
    source = 'import helper, helpers; print(helpers.name, helper.deep.name)'
    said = [run(source, path=tmp_path / name / 'x.ipynb') for name in 'abab']
    assert said == [['a aa\n'], ['b bb\n']] * 2
    assert not {'helper', 'helpers', 'helpers.deep'} & set(sys.modules)


def test_a_module_that_the_process_finds_there_as_well_stays(tmp_path, monkeypatch):
    (tmp_path / 'shared_helper.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    run('import shared_helper', path=tmp_path / 'x.ipynb')
    assert sys.modules.pop('shared_helper')


def test_a_logger_that_only_a_notebook_knew_is_as_if_new():
    cells = (
        'import logging, sys\nlog = logging.getLogger("mine")',
        (
            'log.addHandler(logging.StreamHandler(sys.stdout))\nlog.setLevel("INFO"); log.propagate = False\n'
            'log.info("once")'
        ),
    )
    assert [run(*cells), run(*cells)] == [['once\n']] * 2


def test_a_logger_of_a_package_is_as_it_was():
    logger = logging.getLogger('pandas')
    run(
        'import logging; logging.getLogger("pandas").setLevel(1); logging.getLogger("pandas").disabled = True'
    )
    assert (logger.level, logger.disabled) == (logging.NOTSET, False)


def test_a_package_that_one_notebook_imports_is_heard_in_the_next(tmp_path):
    (tmp_path / 'loud').mkdir()
    (tmp_path / 'loud' / 'loudly.py').write_text(
        'import logging\nlogger = logging.getLogger("loudly")\nlogger.addHandler(logging.StreamHandler())'
    )
    program = (
        'sys.path.append("loud")\nfor _ in range(2): print(run("import loudly; loudly.logger.error(1)"))'
    )
    assert python(program, tmp_path) == [r"['1\n']"] * 2


def test_what_a_notebook_leaves_to_do_at_the_end_is_done_at_its_end(tmp_path, capfd):
    source = (
        'import atexit\nfrom pathlib import Path\n'
        'def leave(name): print("unheard"); Path(name).write_text("done"); 1 / 0\n'
        f'for name in "ab": atexit.register(leave, f"{tmp_path}/{{name}}");\n'
        'atexit.register(print, "never"); atexit.unregister(print)'
    )
    assert run(source) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a', 'b']
    assert capfd.readouterr().out == ''


@pytest.mark.filterwarnings('ignore:coroutine')
def test_a_coroutine_that_nobody_awaits_warns_in_its_own_notebook_or_nowhere():
    leaves = 'async def double(x): return 2 * x', 'import asyncio\ntry: asyncio.run(double(1))\nexcept: pass'
    run(*leaves)
    assert run('import gc; gc.collect();', 'print("alone")') == ['alone\n']


DRAWS = """
import gc
source = '''
import logging
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
frame = pd.DataFrame(np.random.rand(50_000, 4))
plt.plot(frame[0][:50]); plt.show()
logging.warning('drawn')
class Holds:
    def __init__(self): self.own, self.frame = self, frame.copy()
held = Holds()
frame.describe()
'''

def megabytes():
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096 / 1e6

def runs(number):
    for _ in range(number): run(source)
    return megabytes()
"""


@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='the system does not tell the memory')
@pytest.mark.parametrize('number', [30, pytest.param(200, marks=pytest.mark.slow)])
def test_memory_is_flat_over_many_runs(tmp_path, number):
    measure = 'gc.collect(); at.append((sys.getallocatedblocks(), megabytes()))'
    program = f'at = []\nfor number in 10, {number}: runs(number); {measure}\nprint(*at[0], *at[1])'
    (told,) = python(DRAWS + program, tmp_path)
    blocks, megabytes, blocks_later, megabytes_later = map(float, told.split())
    assert (blocks_later - blocks) / number < 30  # of Python's memory
    assert megabytes_later - megabytes < 25  # a data frame that stays would be 1.6 a run
