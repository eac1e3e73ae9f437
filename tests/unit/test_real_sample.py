"""A few thousand real images of Fashion-MNIST: what trains here also learns."""

from pathlib import Path

import numpy as np

from stages.common.data import Dataset, Examples
from stages.common.params import FIRST_LOOK
from stages.confirm.scoring import score_weights
from stages.engine.models import build_network
from stages.engine.trial import Data
from stages.engine.workers import open_threads
from stages.preprocess.decode import read_idx
from stages.train.tuning import train as train_optimizer
from tests.examples import class_counts
from tests.parameters import COMMITTED, small_params

N_TRAIN = 1600  # of 2,000


def read_part(folder: Path, part: str) -> Examples:
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")[..., np.newaxis]
    return Examples(images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz"))


def test_a_committed_optimizer_learns_fashion_mnist(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "fashion-mnist-sample"
    published, test = read_part(folder, "train"), read_part(folder, "t10k")
    train = Examples(published.images[:N_TRAIN], published.labels[:N_TRAIN])
    validation = Examples(published.images[N_TRAIN:], published.labels[N_TRAIN:])
    dataset = Dataset(
        name="sample",
        class_names=tuple("0123456789"),
        height=28,
        width=28,
        channels=1,
        pixel_maximum=int(train.images.max()),
        train_counts=class_counts(train),
        validation_counts=class_counts(validation),
        test_counts=class_counts(test),
        files=(),
    )
    params = small_params(
        {"adam": COMMITTED.optimizers["adam"]},
        model={"hidden_units": [100]},
        train={"epochs": 5, "batch_size": 32},
    )
    data = Data(train, validation)
    with open_threads(1) as workers:
        trained = train_optimizer(
            "adam", params, dataset, data, store_folder=tmp_path, workers=workers
        )
    model = build_network(params.model, dataset).model
    accuracies = [
        score_weights(model, weights, test).accuracy
        for weights in zip(*trained.weights.arrays, strict=True)
    ]
    assert len(accuracies) == FIRST_LOOK
    assert 0.70 < max(accuracies) < 0.90
