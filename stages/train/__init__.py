"""One optimizer's trials in runs/NAME."""

from stages.common.determinism import import_tensorflow

import_tensorflow()
