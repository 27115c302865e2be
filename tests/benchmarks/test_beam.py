import multiprocessing
import os
import time
from multiprocessing import forkserver

import pytest

from benchmarks import beam
from benchmarks.process import tree_bytes


def one(runner: str, scale: int, seconds: float, worker_bytes: int = 0) -> dict:
    each = dict.fromkeys(beam.STAGES, seconds)
    return {"runner": runner, "scale": scale, "seconds": each, "worker_bytes": worker_bytes}


def report(of_ten: float = 22, worker_bytes: int = 10) -> dict:
    alone, two = beam.RUNNERS
    runs = [one(alone, 0, 2), one(alone, 1, 4), one(alone, 10, of_ten)]
    runs += [one(two, 0, 9, 10), one(two, 1, 10, 10), one(two, 10, 19, worker_bytes)]
    return {"scale": (0, 1, 10), "runs": runs}


def test_growth_is_that_of_the_time_beyond_the_fixed_cost():
    targets = {target.name: target for target in beam.judge(report())}
    assert targets["1 process: 10 times the data"].measured == pytest.approx(10)
    assert targets["2 processes: fixed cost"].measured == 9
    assert all(target.is_met for target in targets.values())


def test_growth_is_judged_by_the_line_through_all_smaller_amounts():
    (alone, _) = beam.RUNNERS
    runs = [one(alone, 0, 2), one(alone, 1, 4), one(alone, 3, 8), one(alone, 10, 24)]
    targets = beam.judge({"scale": (0, 1, 3, 10), "runs": runs})
    assert targets[1].measured == pytest.approx(11)  # 22 s beyond 2 s, where 2 s are expected
    assert not targets[1].is_met


def test_each_target_is_missed_by_its_own_number():
    missed = [target.name for target in beam.judge(report(of_ten=24)) if not target.is_met]
    assert missed == ["1 process: 10 times the data"]
    missed = [
        target.name for target in beam.judge(report(worker_bytes=13)) if not target.is_met
    ]
    assert missed == ["2 processes: memory of the largest worker"]


def test_only_beam_s_workers_are_watched():
    """Not what they are forked from."""
    forkserver.ensure_running()
    assert beam.WorkerSampler([os.getpid()]).sample() == 0
    worker = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(60,))
    worker.start()
    measured = beam.WorkerSampler([os.getpid()]).sample()
    assert 0 < measured <= tree_bytes(worker.pid) * 2
    worker.kill()
    worker.join()
