"""The champion predicts a batch; the batch is compared with the reference; labels tell how good it was.

mlops-nb flow score run --month 7
"""

from mlops_nb.flows import FlowSpec, notebook, step


class ScoreFlow(FlowSpec):
    "Predict a batch, report its drift, and measure the predictions."

    @notebook('score')
    @step
    def start(self) -> None:
        "Predict the batch with the champion; profile inputs and predictions."
        self.next(self.drift)

    @notebook('drift')
    @step
    def drift(self) -> None:
        "Compare the batch with the reference, as a report for review."
        self.next(self.end)

    @notebook('performance')
    @step
    def end(self) -> None:
        "The labels have arrived: measure the predictions."


if __name__ == '__main__':
    ScoreFlow()
