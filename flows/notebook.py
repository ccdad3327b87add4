"""One notebook as a tracked run: the flow behind `mlops-nb run`.

mlops-nb run nbs/train.ipynb --depth 8
"""

import os

from mlops_nb.flows import FlowSpec, notebook, step


class NotebookFlow(FlowSpec):
    "Run the notebook that MLOPS_NB_NOTEBOOK names, relative to the project."

    @notebook(os.environ.get('MLOPS_NB_NOTEBOOK', ''))
    @step
    def start(self) -> None:
        "Run the notebook."
        self.next(self.end)

    @step
    def end(self) -> None:
        "The notebook ran."


if __name__ == '__main__':
    NotebookFlow()
