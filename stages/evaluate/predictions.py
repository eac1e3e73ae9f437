"""What the networks predict for the test examples: confusion, mistakes, fitted values."""

from collections import Counter

import numpy as np

from stages.common.data import Examples, Scaling
from stages.common.results import ConfusionCell, FittedPoint, Mistakes
from stages.evaluate.scored import ScoredRun

N_MISTAKES = 24
N_FITTED = 400
N_CLASSES = 50


def confuse(
    name: str, scored: ScoredRun, test: Examples, class_names: tuple[str, ...]
) -> list[ConfusionCell]:
    """The confusion matrix of an optimizer; empty without predictions, or for a regression."""
    predictions = scored.predictions
    if not class_names or not len(predictions):
        return []
    n = len(class_names)
    pairs = n * np.tile(test.targets, len(predictions)) + predictions.ravel()
    counts = np.bincount(pairs, minlength=n * n).reshape(n, n)
    return [
        ConfusionCell(name, class_names[actual], class_names[predicted], count / sum(row))
        for actual, row in enumerate(counts.tolist())
        for predicted, count in enumerate(row)
        # With very many classes, empty cells off the diagonal are left out.
        if sum(row) and (count or predicted == actual or n <= N_CLASSES)
    ]


def find_mistakes(scored: ScoredRun, test: Examples, scaling: Scaling) -> Mistakes:
    """The test pictures that most trials got wrong, at most N_MISTAKES.

    The worst of each class come first, then each class's second worst and so on, so that a hard
    class does not hide the others.
    """
    inputs = test.inputs
    is_pictures = inputs.ndim == 4 and inputs.dtype == np.uint8 and inputs.shape[-1] in (1, 3)
    if not is_pictures or test.targets.ndim > 1 or not len(scored.predictions):
        none = np.zeros(0, np.int64)
        return Mistakes(np.zeros((0, 1, 1, 1), np.uint8), none, none, none)
    predictions = scored.predictions.astype(np.int64)
    n_wrong = np.sum(predictions != test.targets, axis=0)
    order = np.argsort(-n_wrong, kind="stable")
    order = order[n_wrong[order] > 0]
    seen: Counter[int] = Counter()
    turns = []
    for actual in test.targets[order].tolist():
        turns.append(seen[actual])
        seen[actual] += 1
    worst = order[np.argsort(turns, kind="stable")][:N_MISTAKES]
    frequent = [
        np.bincount(column[column != target]).argmax()
        for column, target in zip(predictions[:, worst].T, test.targets[worst], strict=True)
    ]
    # A test picture may be brighter than the training pictures' maximum.
    brightened = np.minimum(inputs[worst] * (255 * scaling.input_scale[0]), 255)
    return Mistakes(
        pictures=brightened.astype(np.uint8),
        actual=test.targets[worst].astype(np.int64),
        predicted=np.array(frequent, np.int64),
        n_wrong=n_wrong[worst],
    )


def fit(name: str, scored: ScoredRun, test: Examples) -> tuple[FittedPoint, ...]:
    """A regression's predictions for about N_FITTED examples, evenly spaced by rank of target."""
    if test.targets.ndim == 1 or not len(scored.predictions):
        return ()
    n_test, n_outputs = test.targets.shape
    places = np.unique(
        np.linspace(0, n_test - 1, max(1, N_FITTED // n_outputs)).round().astype(int)
    )
    return tuple(
        FittedPoint(
            optimizer=name,
            output=output,
            actual=float(test.targets[place, output]),
            predicted=float(predicted.mean()),
            predicted_low=float(predicted.min()),
            predicted_high=float(predicted.max()),
        )
        for output in range(n_outputs)
        for place in np.argsort(test.targets[:, output], kind="stable")[places]
        for predicted in [scored.predictions[:, place, output].astype(np.float64)]
    )
