"""Test scores, statistics and a verdict in metrics.json, evaluation and plots."""

from stages.common.determinism import import_tensorflow

import_tensorflow()
