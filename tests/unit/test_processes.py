"""No process outlives the one that started it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import PROJECT

PATIENT_S = 20.0
ORPHAN = """
import os, signal, time
{start}
time.sleep({delay_s})
os.kill(os.getpid(), signal.SIGKILL)
"""
# Each gives the child work that takes longer than the test has patience.
TRAINS = """
from stages.engine.helper import Helper
class Pause:
    def __reduce__(self):
        return time.sleep, (99,)
helper = Helper()
helper._connection.send(Pause())
"""
DRAWS = """
from stages.report.drawing import open_drawing
opened = open_drawing()
opened.__enter__().submit(time.sleep, 99)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.3])
@pytest.mark.parametrize("start", [TRAINS, DRAWS], ids=["trains", "draws"])
def test_a_child_ends_with_its_parent_even_if_that_is_killed(start: str, delay_s: float) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN.format(start=start, delay_s=delay_s)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    assert parent.wait(PATIENT_S) == -signal.SIGKILL
    deadline_s = time.monotonic() + PATIENT_S
    while has_members(parent.pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
