"""One batch of data arrives: clean it, check it, commit it as a version, profile it.

mlops-nb flow ingest run --month 7
"""

from mlops_nb.flows import FlowSpec, notebook, step


class IngestFlow(FlowSpec):
    "Commit one batch of data as a version of the dataset."

    @notebook('ingest')
    @step
    def start(self) -> None:
        "Clean, check, commit and profile the batch."
        self.next(self.end)

    @step
    def end(self) -> None:
        "The batch is a version of the dataset."


if __name__ == '__main__':
    IngestFlow()
