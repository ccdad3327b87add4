"""A value keeps its type and content on every way into a notebook, or is refused before anything starts."""

from __future__ import annotations

import json
import math
import pickle
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from small import Run, cell, write_notebook

from mlops_nb.core import UsageError
from mlops_nb.notebooks import contract, run_notebook
from mlops_nb.notebooks.values import Expression


class Loss(Enum):
    LOG = 'log_loss'
    TWO = 2


TEXT = st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\x00'), max_size=20)
WHOLE = st.integers(-(10**30), 10**30)
DAYS = st.dates()
OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda offset: timezone(timedelta(seconds=int(offset.total_seconds())))
)
TIMES = st.datetimes(timezones=st.none() | OFFSETS).map(lambda time: time.replace(fold=0))
TUPLES = st.lists(WHOLE).map(tuple)
PATHS = TEXT.filter(bool).map(Path)
KINDS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    'whole': ('int', WHOLE),
    'real': ('float', st.floats()),
    'text': ('str', TEXT),
    'truth': ('bool', st.booleans()),
    'day': ('date', DAYS),
    'time': ('datetime', TIMES),
    'place': ('Path', PATHS),
    'choice': ("Literal['a', 'b c', 3]", st.sampled_from(['a', 'b c', 3])),
    'loss': ('Loss', st.sampled_from(Loss)),
    'version': ('DatasetVersion', st.integers(1, 99).map(lambda n: f'flights@{n}')),
    'wholes': ('list[int]', st.lists(WHOLE)),
    'texts': ('list[str]', st.lists(TEXT)),
    'days': ('tuple[date, ...]', st.lists(DAYS).map(tuple)),
    'pair': ('tuple[int, float]', st.tuples(WHOLE, st.floats())),
    'shares': ('dict[str, float]', st.dictionaries(TEXT, st.floats())),
    'nested': (
        'dict[str, list[tuple[int, ...]]]',
        st.dictionaries(TEXT, st.lists(st.lists(WHOLE).map(tuple))),
    ),
    'perhaps': ('Optional[int]', st.none() | WHOLE),
    'unless': ('date | None', st.none() | DAYS),
    'losses': ('list[Loss] | None', st.none() | st.lists(st.sampled_from(Loss))),
}
VALUES = st.fixed_dictionaries({name: strategy for name, (_, strategy) in KINDS.items()})
DECLARES = """
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Literal, Optional
from mlops_nb import DatasetVersion
class Loss(Enum):
    LOG = 'log_loss'
    TWO = 2
"""
SAYS = 'import json\nprint(json.dumps([[n, type(globals()[n]).__name__, repr(globals()[n])] for n in names]))'
EXAMPLES: dict[str, Any] = {'deadline': None, 'suppress_health_check': list(HealthCheck)}


def declaring(path: Path) -> Path:
    "A notebook that takes one value of each kind, and says what it got."
    parameters = '\n'.join(f'{name}: {kind}' for name, (kind, _) in KINDS.items())
    return write_notebook(
        path, cell(DECLARES + parameters, 'parameters'), cell(f'names = {list(KINDS)}\n{SAYS}')
    )


def said(values: dict[str, Any]) -> list[list[str]]:
    "What the notebook is to say."
    return [[name, type(values[name]).__name__, repr(values[name])] for name in KINDS]


def told(notebook: dict[str, Any]) -> list[list[str]]:
    "What it said."
    return json.loads(''.join(notebook['cells'][-1]['outputs'][0]['text']))


def typed(value: Any) -> str:
    "A value as one types it on a command line."
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=typed)
    return (
        value.name
        if isinstance(value, Enum)
        else value.isoformat()
        if isinstance(value, date)
        else str(value)
    )


@settings(max_examples=40, **EXAMPLES)
@given(values=VALUES)
def test_python_values_arrive_as_they_are(tmp_path: Path, values: dict[str, Any]) -> None:
    done = run_notebook(declaring(tmp_path / 'x.ipynb'), values)
    assert done.error is None and told(done.notebook) == said(values)


@settings(max_examples=40, **EXAMPLES)
@given(values=VALUES)
def test_typed_text_becomes_the_value_that_it_says(tmp_path: Path, values: dict[str, Any]) -> None:
    texts = {name: typed(value) for name, value in values.items()}
    done = run_notebook(declaring(tmp_path / 'x.ipynb'), texts)
    assert done.error is None and told(done.notebook) == said(values)


@settings(max_examples=3, **EXAMPLES)
@given(values=VALUES)
def test_the_command_line_of_a_run_brings_each_value(
    project: Path, mlops: Run, values: dict[str, Any]
) -> None:
    values['version'] = ingested(project)
    declaring(project / 'look.ipynb')
    options = [f'--{name}={typed(value)}' for name, value in values.items()]
    done = mlops('run', 'look.ipynb', *options, folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert told(latest(project)) == said(values)


FLOW = """
import pickle
from pathlib import Path
from enum import Enum
from mlops_nb.flows import FlowSpec, notebook, step

class PassFlow(FlowSpec):
    "Values from Python to a notebook."

    @step
    def start(self):
        for name, value in pickle.loads(Path(__file__).with_name('values.pkl').read_bytes()).items():
            setattr(self, name, value)
        self.next(self.end)

    @notebook('look.ipynb', MAPPED)
    @step
    def end(self):
        pass

if __name__ == '__main__':
    PassFlow()
"""


@settings(max_examples=2, **EXAMPLES)
@given(values=VALUES)
def test_a_flow_brings_what_its_steps_computed(project: Path, mlops: Run, values: dict[str, Any]) -> None:
    values['version'] = ingested(project)
    declaring(project / 'look.ipynb')
    (project / 'flows').mkdir(exist_ok=True)
    mapped = ', '.join(f"{name}='made_{name}'" for name in KINDS)
    (project / 'flows' / 'pass.py').write_text(FLOW.replace('MAPPED', mapped))
    made = {f'made_{name}': plain(value) for name, value in values.items()}
    (project / 'flows' / 'values.pkl').write_bytes(pickle.dumps(made))
    done = mlops('flow', 'pass', 'run', folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert told(latest(project)) == said(values)


def plain(value: Any) -> Any:
    "A value that can be unpickled without this file."
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.name if isinstance(value, Enum) else value


def ingested(project: Path) -> str:
    "A version of a dataset that is there."
    import pandas as pd

    from mlops_nb.core import load_settings
    from mlops_nb.data import commit
    from mlops_nb.store import open_store

    store = open_store(load_settings(project))
    rows = pd.DataFrame({'late': [True, False]})
    return str(commit(store, 'flights', rows, batch='2013-01', message='two rows'))


def latest(project: Path) -> dict[str, Any]:
    "The executed notebook of the latest run."
    from mlops_nb.core import load_settings
    from mlops_nb.store import open_store

    store = open_store(load_settings(project))
    with store.read() as connection:
        digest = connection.exec_driver_sql(
            "select digest from file where kind = 'executed notebook' order by rowid desc"
        ).scalar()
    return json.loads(store.get(digest))


def test_a_version_that_is_not_there_is_refused_before_a_run_starts(project: Path, mlops: Run) -> None:
    declares = 'from mlops_nb import DatasetVersion\nrows: DatasetVersion = "flights@latest"'
    write_notebook(project / 'look.ipynb', cell(declares, 'parameters'), cell('print(rows)'))
    refused = mlops('run', 'look.ipynb', folder=project)
    assert refused.returncode and 'flights' in refused.stdout + refused.stderr
    assert json.loads(mlops('runs', 'list', '--json', folder=project).stdout) == []
    version = ingested(project)
    assert mlops('run', 'look.ipynb', folder=project).returncode == 0
    (pinned,) = json.loads(mlops('runs', 'list', '--json', folder=project).stdout)
    assert pinned['params.rows'] == version


def test_a_flow_refuses_a_value_before_its_first_step(project: Path, mlops: Run) -> None:
    write_notebook(
        project / 'nbs' / 'train.ipynb',
        cell('sizes: list[int] = [1]\nmode: Literal["a", "b"] = "a"', 'parameters'),
        cell('print(sizes)'),
    )
    for options in ('--sizes', 'one,two'), ('--mode', 'c'):
        done = mlops('flow', 'train', 'run', *options, folder=project)
        assert done.returncode and 'is declared' in done.stdout + done.stderr
        assert 'Traceback' not in done.stdout + done.stderr
    assert json.loads(mlops('runs', 'list', '--json', folder=project).stdout) == []


def as_json(value: Any) -> Any:
    "A value in a JSON document."
    return json.loads(typed(value)) if isinstance(value, (list, tuple, dict)) else plain_json(value)


def plain_json(value: Any) -> Any:
    return typed(value) if isinstance(value, (Enum, date, Path)) else value


@given(values=VALUES)
@settings(max_examples=40, **EXAMPLES)
def test_what_the_json_schema_takes_is_what_the_contract_takes(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    declared = contract(declaring(tmp_path / 'x.ipynb'))
    schema = declared.to_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    finite = {name: value for name, value in values.items() if 'inf' not in repr(value)}
    document = {name: as_json(value) for name, value in values.items()}
    jsonschema.Draft202012Validator(schema).validate(document)
    assert finite.keys() <= declared.check(document).keys()


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('whole', 2.5),
        ('whole', True),
        ('whole', ''),
        ('real', 'one'),
        ('truth', 'maybe'),
        ('truth', 1),
        ('day', datetime(2013, 7, 1, 12)),
        ('time', '2013-13-01'),
        ('place', 7),
        ('choice', 'B'),
        ('loss', 'LOGS'),
        ('version', 'flights'),
        ('wholes', '1,two'),
        ('texts', [1]),
        ('pair', (1,)),
        ('shares', '[1]'),
        ('perhaps', 'x'),
        ('losses', ['LOG', 'no']),
        ('text', b'bytes'),
        ('wholes', {1, 2}),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_was_found(
    tmp_path: Path, name: str, value: Any
) -> None:
    declared = contract(declaring(tmp_path / 'x.ipynb'))
    (parameter,) = (one for one in declared.parameters if one.name == name)
    with pytest.raises(UsageError) as refused:
        declared.fit(parameter, value)
    assert repr(value) in str(refused.value) and name in str(refused.value)


def test_an_enumeration_is_read_from_the_module_that_it_is_imported_from(tmp_path: Path) -> None:
    (tmp_path / 'kinds.py').write_text('import enum\nraise SystemExit\nclass Kind(enum.Enum):\n    A = 1\n')
    path = write_notebook(tmp_path / 'x.ipynb', cell('from kinds import Kind\nkind: Kind', 'parameters'))
    declared = contract(path)
    assert declared.check({'kind': 'A'}) == {'kind': Expression('Kind.A')} == declared.check({'kind': 1})
    with pytest.raises(UsageError, match='Kind: A'):
        declared.check({'kind': 'B'})


def test_defaults_that_are_calculated_are_shown_as_values(tmp_path: Path) -> None:
    source = 'wait: int = 60 * 60\nraw: Path = Path("a") / "b"\nlate: float = -1 / 4\nrows = len([1])'
    found = {
        p.name: p.default
        for p in contract(write_notebook(tmp_path / 'x.ipynb', cell(source, 'parameters'))).parameters
    }
    assert (found['wait'], found['raw'], found['late']) == (3600, Path('a/b'), -0.25)
    assert found['rows'] == Expression('len([1])') and not math.isnan(found['late'])
