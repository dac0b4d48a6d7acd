"""Fresh ViT and ResNet classifiers, with or without ContextPool, and what is special to each."""

import copy
import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import (
    BaseImageProcessor,
    ConvNextImageProcessorPil,
    PreTrainedConfig,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessorPil,
)

from contextpool_training import resnet, vit
from contextpool_training.context_pool import ContextPool
from contextpool_training.options import ContextPoolOptions, Fixed
from contextpool_training.pools import context_pools_of, load_checked
from contextpool_training.settings import COUNT, SHARE, Range, check_settings, setting
from contextpool_training.trainer import TrainingOptions

ImageClassifier: TypeAlias = vit.ViTForImageClassification | resnet.ResNetForImageClassification

# Of every channel: values from -1 to 1.
_MEAN = [0.5] * 3
_STD = [0.5] * 3


@dataclasses.dataclass(frozen=True)
class ViTOptions:
    image_size: int = setting(64, "side to which images are resized, in pixels", COUNT)
    patch_size: int = setting(8, "side of a patch, in pixels", COUNT)
    width: int = setting(128, "of the hidden vectors", COUNT)
    layers: int = setting(4, "of the transformer", COUNT)
    heads: int = setting(4, "of each layer's attention", COUNT)
    feed_forward: int = setting(512, "width of the feed-forward blocks", COUNT)
    dropout: float = setting(0.0, "of hidden values", SHARE)
    first_weights: float = setting(
        0.02, "standard deviation of the first weights", Range(0, above=True)
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.width % self.heads:
            raise ValueError(f"--width {self.width} is not a multiple of --heads {self.heads}")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"--image-size {self.image_size} is not a multiple of --patch-size "
                f"{self.patch_size}"
            )


@dataclasses.dataclass(frozen=True)
class ResNetOptions:
    image_size: int = setting(64, "side to which images are resized and cropped, in pixels", COUNT)
    width: int = setting(32, "channels of the first stage; each stage has twice as many", COUNT)
    stages: int = setting(3, "each but the first halves the sides", Range(1, 6))
    blocks: int = setting(1, "residual blocks of each stage", COUNT)
    layer_type: str = setting("basic", "of the blocks")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class ImageTrainingOptions(TrainingOptions):
    epochs: int = setting(40, "passes over the training images", COUNT)
    batch_size: int = setting(32, "images per step", COUNT)
    shift: float = setting(0.1, "share of their sides by which images are moved", SHARE)
    flip: float = setting(0.0, "share of the images that are mirrored", Range(0, 1))


@dataclasses.dataclass(frozen=True)
class Architecture:
    """All that differs between the kinds of image models."""

    name: str
    options: type[Any]
    choices: Mapping[str, tuple[str, ...]]
    classifier: type[Any]
    config_of: Callable[[Any], PreTrainedConfig]
    processor_of: Callable[[int], BaseImageProcessor]
    # [batch, width], what the classifier reads.
    embedding_of: Callable[[Any, Tensor], Tensor]
    # Of the places that have ContextPool.
    places_of: Callable[[Any], tuple[object, ...]]


def _vit_config(options: ViTOptions) -> ViTConfig:
    return ViTConfig(
        image_size=options.image_size,
        patch_size=options.patch_size,
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        intermediate_size=options.feed_forward,
        hidden_dropout_prob=options.dropout,
        initializer_range=options.first_weights,
    )


def _vit_processor(image_size: int) -> BaseImageProcessor:
    return ViTImageProcessorPil(
        do_convert_rgb=True,
        size={"height": image_size, "width": image_size},
        image_mean=_MEAN,
        image_std=_STD,
    )


def _resnet_config(options: ResNetOptions) -> ResNetConfig:
    return ResNetConfig(
        embedding_size=options.width,
        hidden_sizes=[options.width << stage for stage in range(options.stages)],
        depths=[options.blocks] * options.stages,
        layer_type=options.layer_type,
    )


def _resnet_processor(image_size: int) -> BaseImageProcessor:
    """The shorter side is resized to the size, and the middle kept."""
    return ConvNextImageProcessorPil(
        do_convert_rgb=True,
        size={"shortest_edge": image_size},
        crop_pct=1.0,
        image_mean=_MEAN,
        image_std=_STD,
    )


ARCHITECTURES = {
    "vit": Architecture(
        "vit",
        ViTOptions,
        {},
        vit.ViTForImageClassification,
        _vit_config,
        _vit_processor,
        vit.embedding_of,
        lambda config: vit.layers_of(config, classifies=True),
    ),
    "resnet": Architecture(
        "resnet",
        ResNetOptions,
        {"layer_type": ("basic", "bottleneck")},
        resnet.ResNetForImageClassification,
        _resnet_config,
        _resnet_processor,
        resnet.embedding_of,
        resnet.places_of,
    ),
}


def build(
    architecture: Architecture,
    sizes: ViTOptions | ResNetOptions,
    labels: list[str],
    context_pool: ContextPoolOptions | None,
    seed: int,
) -> ImageClassifier:
    """Models that differ only in `context_pool` start from the same weights."""
    config = architecture.config_of(sizes)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    torch.manual_seed(seed)
    plain: ImageClassifier = architecture.classifier(copy.deepcopy(config))
    if context_pool is None:
        return plain
    config.context_pool = context_pool.to_dict()
    model: ImageClassifier = architecture.classifier(config)
    model.load_state_dict(plain.state_dict(), strict=False)
    torch.manual_seed(seed)
    start_pools(model, sizes.image_size)
    return model


def start_pools(model: nn.Module, image_size: int) -> None:
    """Starts every ContextPool anew for the grid that it has with images of this size."""

    def start(pool: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(pool, ContextPool)
        pool.reset_parameters(max(inputs[2]))

    hooks = [pool.register_forward_pre_hook(start) for pool in context_pools_of(model)]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, image_size, image_size))
    for hook in hooks:
        hook.remove()


def blurring(context_pool: ContextPoolOptions, model: nn.Module) -> ContextPoolOptions:
    """The control: a Gaussian of one size, with which the pools of this model start, and nothing
    learned."""
    size = max(pool.first_support_size for pool in context_pools_of(model))
    return dataclasses.replace(
        context_pool, weight_activation="one", size_activation=Fixed(round(size, 2))
    )


def load(
    architecture: Architecture, directory: pathlib.Path, dtype: torch.dtype = torch.float32
) -> ImageClassifier:
    """The classifier of a directory, ready to compute; see load_checked."""
    classifier = architecture.classifier
    config = classifier.config_class.from_pretrained(directory)
    model: ImageClassifier = load_checked(classifier, directory, config, dtype)
    return model
