"""Pictures of noise, for timings."""

import numpy as np

from stages.common.data import Dataset, Examples, Scaling

N_CLASSES = 10
SHAPE = (28, 28, 1)


def draw_noise(n: int) -> Examples:
    """N pictures of `SHAPE` and their classes."""
    generator = np.random.default_rng(0)
    targets = generator.integers(N_CLASSES, size=n, dtype=np.int32)
    return Examples(generator.integers(256, size=(n, *SHAPE), dtype=np.uint8), targets)


def describe_noise(n_train: int, n_validation: int) -> Dataset:
    """The description of a data set of noise with so many pictures."""
    return Dataset(
        name="noise",
        input_shape=SHAPE,
        input_dtype="uint8",
        n_outputs=N_CLASSES,
        class_names=tuple(map(str, range(N_CLASSES))),
        features=(),
        n_train=n_train,
        n_validation=n_validation,
        n_test=0,
        train_counts=(),
        validation_counts=(),
        test_counts=(),
        files=(),
        scaling=Scaling((1 / 255,), (0.0,), (), ()),
    )
