"""One optimizer's trials in runs/NAME."""

from stages.common.determinism import prepare_environment

prepare_environment()
