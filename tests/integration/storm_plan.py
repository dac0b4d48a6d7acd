"""What the clients of a storm ask: lanes, plans drawn from a seed, and texts with their answers."""

import dataclasses

import numpy as np

from harness import sentences


@dataclasses.dataclass(frozen=True)
class Lane:
    """One method asked of one model.

    What the server counts for a call that its client gave up cannot be known: it may have been
    answered a moment before. So clients give up in some lanes only. In the others, which share
    queues and device with them, server and clients must agree to the last call.
    """

    model: str
    method: str
    gives_up: bool
    weight: float

    @property
    def key(self):
        return self.model, self.method

    @property
    def task(self):
        return self.method.removesuffix("Stream")

    @property
    def streams(self):
        return self.method != self.task


LANES = (
    Lane("minilm", "Embed", True, 0.15),
    Lane("minilm", "EmbedStream", False, 0.02),
    Lane("sentiment", "Classify", False, 0.23),
    Lane("sentiment", "ClassifyStream", True, 0.08),
    Lane("sentiment", "EmbedStream", True, 0.05),
    Lane("bytes", "Classify", True, 0.37),
    Lane("bytes", "ClassifyStream", False, 0.03),
    Lane("bytes", "Embed", False, 0.07),
)
# Shares of the calls in lanes where clients give up. Those are 65% of all calls, so that 30% of all
# are cancelled.
CANCELLED = 0.46
DISCONNECTED = 0.03
WITH_DEADLINE = 0.3


@dataclasses.dataclass(frozen=True)
class Plan:
    """One call, or one stream of requests. Texts are given by their numbers in the bank."""

    lane: Lane
    requests: list[list[int]]
    bulk: bool
    reads_slowly: bool
    timeout_s: float | None
    leaves_after_s: float | None
    disconnects: bool


def make_plan(rng):
    """The next plan of a client. Draws depend on earlier draws alone, never on answers."""
    lane = rng.choices(LANES, [lane.weight for lane in LANES])[0]
    most = _most_texts(rng.random(), lane)
    messages = rng.randint(1, 12) if lane.streams else 1
    leaves = lane.gives_up and rng.random() < CANCELLED + DISCONNECTED
    return Plan(
        lane=lane,
        requests=[rng.choices(range(Bank.SIZE), k=rng.randint(min(most, 1), most))
                  for _ in range(messages)],
        bulk=rng.random() < (0.8 if most > 12 else 0.25),
        reads_slowly=lane.streams and rng.random() < 0.2,
        # From hopeless to generous.
        timeout_s=10 ** rng.uniform(-3.3, 0.5)
        if lane.gives_up and rng.random() < WITH_DEADLINE else None,
        leaves_after_s=10 ** rng.uniform(-4, -0.3) if leaves else None,
        disconnects=rng.random() < DISCONNECTED / (CANCELLED + DISCONNECTED))


def _most_texts(draw, lane):
    if draw < 0.02:
        return 0  # a mistake, to be answered as such among all the others
    most = 1 if draw < 0.7 else 12 if draw < 0.97 else 80
    return min(most, 8) if lane.model == "minilm" or lane.streams else most


class Bank:
    """Texts and their answers, each computed alone while the server does nothing else."""

    SIZE = 100

    def __init__(self, client, seed):
        self.texts = sentences(self.SIZE - 10, f"{seed}/short", longest=60)
        self.texts += sentences(10, f"{seed}/long", longest=250)
        self.answers = {
            (model, task): [self._alone(client, model, task, text) for text in self.texts]
            for model, task in {(lane.model, lane.task) for lane in LANES}}

    @staticmethod
    def _alone(client, model, task, text):
        ask = client.embed if task == "Embed" else client.classify
        return values(task, ask([text], model).results[0])

    def difference(self, lane, text, result):
        """Between a result and the answer computed alone, at most over its numbers."""
        alone = self.answers[lane.model, lane.task][text]
        return float(np.abs(values(lane.task, result) - alone).max())


def values(task, result):
    """The numbers of one result; scores in the order of the model's labels."""
    if task == "Embed":
        return np.array(result.embedding.values, np.float32)
    scores = sorted(result.classification.scores, key=lambda score: score.index)
    return np.array([score.score for score in scores], np.float32)
