"""A model is made: features of the latest batches, training, validation, registration.

mlops-nb flow train run --month 6
"""

from mlops_nb.flows import FlowSpec, notebook, step


class TrainFlow(FlowSpec):
    "Make, judge and register one version of the model."

    @notebook('features')
    @step
    def start(self) -> None:
        "Compute the features of the training window."
        self.next(self.train)

    @notebook('train')
    @step
    def train(self) -> None:
        "Fit the model."
        self.next(self.end)

    @notebook('validate')
    @step
    def end(self) -> None:
        "Judge the model on batches that it has not seen, and register it."


if __name__ == '__main__':
    TrainFlow()
