"""Figures show themselves in any notebook, whatever was imported before, and look the same each time."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient

from mlops_nb.pages import Dot, Mark, Panel, intervals, overlay, png, svg, timeline

HOSTILE = ['$\\frac{1}{', 'a' * 400, '<script>alert(1)</script>', '\x00\x1b[31m\ud800', '&lt;"\'', '-->', '']
DRAW = """
from mlops_nb.pages import Panel, overlay
overlay([Panel(title='delay', kind='number', edges=[0, 1, 2], reference=[.5, .5], batch=[.2, .8])])
"""


@pytest.mark.parametrize('before', ['', 'import matplotlib.pyplot as plt', '%matplotlib inline'])
def test_a_figure_as_the_last_line_of_a_cell_is_shown_once_as_a_picture(before: str) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in (before, DRAW)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=600).execute(env={**os.environ})
    pictures = [o.data['image/png'] for o in notebook.cells[1].outputs if 'image/png' in o.get('data', {})]
    assert len(pictures) == 1
    assert base64.b64decode(pictures[0]).startswith(b'\x89PNG')


def test_figures_are_the_same_bytes_in_every_process() -> None:
    code = DRAW.replace('overlay([', 'figure = overlay([') + (
        'import hashlib; from mlops_nb.pages import png, svg\n'
        'print(hashlib.sha256(svg(figure).encode()).hexdigest(), hashlib.sha256(png(figure)).hexdigest())'
    )
    found = {
        subprocess.run(
            [sys.executable, '-c', code],
            env={**os.environ, 'PYTHONHASHSEED': seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ('1', '2')
    }
    assert len(found) == 1


@pytest.mark.parametrize('number', [0, 1, 40])
def test_every_figure_draws_any_number_of_things_with_hostile_names(number: int) -> None:
    names = [HOSTILE[i % len(HOSTILE)] + ' ' * (i // len(HOSTILE)) + str(i) for i in range(number)]
    panels = [
        Panel(
            title=name,
            kind='number',
            edges=[0, 1, 3],
            reference=[1, 0],
            batch=[0, 1],
            note=name,
            drifted=True,
        )
        if i % 2
        else Panel(title=name, kind='category', labels=[name, 'b'], batch=[0.5, 0.5], note=name)
        for i, name in enumerate(names)
    ]
    batches = names or ['2013-07']
    lines = {name: [float(i) for i in range(len(batches))] for name in names}
    drawn = [
        overlay(panels),
        timeline(batches, lines, marks=[Mark(name, name, alarm=True) for name in names[:9]]),
        intervals(
            [Dot(label=name, value=0.5, low=0.1, high=0.9, note=name) for name in names],
            'of $ all',
            overall=0.4,
        ),
    ]
    for figure in drawn:
        text = svg(figure, title=HOSTILE[0])
        root = ElementTree.fromstring(text.encode('utf-8', 'strict'))
        assert root.tag.endswith('svg')
        assert (
            '<script' not in text
            and ' style=' not in text
            and 'http' not in text.replace('http://www.w3.org/', '')
        )
    if number <= 1:
        assert all(png(figure).startswith(b'\x89PNG') for figure in drawn)


def test_a_name_with_dollar_signs_is_drawn_as_it_is() -> None:
    figure = timeline(['$a$'], {'cost in $ per $': [1.0]}, marks=[Mark('$a$', 'from $1 to $2')])
    assert {'$a$', 'cost in $ per $', 'from $1 to $2'} <= set(ElementTree.fromstring(svg(figure)).itertext())


def test_a_tiny_difference_is_written_as_a_person_reads_it() -> None:
    dots = [
        Dot(label='all rows', value=7.443e-05, low=-0.0021, high=0.0024),
        Dot(label='UA', value=-0.0, low=-0.03, high=0.02),
    ]
    words = [text.get_text() for text in intervals(dots, share=False).axes[0].texts]
    assert '0.0001 (-0.0021 to 0.0024)' in words and '0.0000 (-0.0300 to 0.0200)' in words
    assert not any('e-0' in text for text in words)
