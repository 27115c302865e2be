"""What the workers of a pool import, once for all of them: see worker_pool.py."""

from contract import imports

imports.log_warnings()
with imports.fast():
    from apache_beam.runners.worker import sdk_worker  # noqa: F401

    from components import bulk_inferrer, evaluator, example_gen, statistics_gen  # noqa: F401
    from pipeline_def.beam import probe

probe.facts()  # of this code, although the files may change while the pool runs
