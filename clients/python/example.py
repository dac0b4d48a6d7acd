"""Embeds and compares texts, and classifies them if the server has a classifier.

How to run it: clients/python/README.md.
"""

import sys

import grpc
from contextpool.v1 import classification_pb2, embedding_pb2, model_pb2
from contextpool.v1.classification_pb2_grpc import ClassificationServiceStub
from contextpool.v1.embedding_pb2_grpc import EmbeddingServiceStub
from contextpool.v1.model_pb2_grpc import ModelServiceStub
from contextpool.v1.types_pb2 import Input, ModelRef

TEXTS = ["A cat sits on the mat.", "A kitten rests on the rug.", "The stock market fell today."]


def first_model(models, task):
    """The first model that is ready, reads texts and offers the task, or None."""
    for model in models:
        ready = model.state == model_pb2.MODEL_STATE_READY
        if ready and model.modality == model_pb2.MODALITY_TEXT and task in model.tasks:
            return ModelRef(name=model.ref.name)
    return None


def embed(channel, model):
    request = embedding_pb2.EmbedRequest(model=model, inputs=[Input(text=t) for t in TEXTS])
    # The default receive limit of gRPC, 4 MiB, is about 2,700 vectors of 384 numbers.
    response = EmbeddingServiceStub(channel).Embed(request, timeout=30)
    vectors = []
    for text, result in zip(TEXTS, response.results):
        if result.HasField("error"):  # one bad input does not fail the others
            sys.exit(f"{text!r}: {result.error.message}")
        vectors.append(result.embedding.values)
        print(f"{result.usage.tokens_used:3} tokens  {text}")
    for i, text in enumerate(TEXTS[1:], 1):
        dot = sum(a * b for a, b in zip(vectors[0], vectors[i]))
        print(f"{dot:6.3f} = similarity of {TEXTS[0]!r} and {text!r}")


def classify(channel, model):
    request = classification_pb2.ClassifyRequest(model=model, inputs=[Input(text=TEXTS[0])])
    response = ClassificationServiceStub(channel).Classify(request, timeout=30)
    for score in response.results[0].classification.scores:
        print(f"{score.score:6.3f} {score.label}")


def main():
    server = sys.argv[1] if len(sys.argv) > 1 else "localhost:8001"
    with grpc.insecure_channel(server) as channel:
        try:
            models = ModelServiceStub(channel).ListModels(model_pb2.ListModelsRequest(),
                                                          timeout=10).models
            if encoder := first_model(models, model_pb2.TASK_EMBED):
                embed(channel, encoder)
            if classifier := first_model(models, model_pb2.TASK_CLASSIFY):
                classify(channel, classifier)
        except grpc.RpcError as error:
            sys.exit(f"{server}: {error.code().name}: {error.details()}")


if __name__ == "__main__":
    main()
