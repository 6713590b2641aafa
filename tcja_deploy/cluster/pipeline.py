"""The pipeline of Ray Data: units are read by tasks, and chunks are computed by actors, each with a session.

    units  ->  read: tasks, as many at a time as there are workers  ->  Session: actors  ->  chunks, in order

Windows go through Ray's memory for objects. Ray stops the reading when it fills up, so neither the command nor Ray
holds all windows.
"""

from __future__ import annotations

import logging
import pickle  # of our own units
from collections.abc import Iterator
from typing import Any

import ray
import ray.data
from ray import cloudpickle

from tcja_deploy.cluster.job import Job
from tcja_deploy.cluster.worker import Session, read

_TRIES = 3
"""How often the work on a chunk is done again after its process ended. A network that ends a process always does."""


def chunks(content: bytes, workers: int, *, on_gpu: bool) -> Iterator[bytes]:
    """Yield the pickled `Computed` of each chunk, in their order.

    Args:
        content: the pickled job.
        workers: the number of workers.
        on_gpu: whether each worker gets a GPU.
    """
    job: Job = cloudpickle.loads(content)
    _configure()
    reference = ray.put(content)
    units = [{"unit": pickle.dumps(unit)} for unit in job.units(workers)]
    # A reader takes no CPU of its own in Ray's account: workers have all, and it has work only as they do.
    each: dict[str, Any] = {"num_gpus": 1} if on_gpu else {"num_cpus": 1}
    found = (
        ray.data.from_items(units, override_num_blocks=len(units))
        .map_batches(read, batch_size=1, num_cpus=0, concurrency=workers, fn_args=(reference,))
        .map_batches(
            Session,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            fn_constructor_args=(reference, 0 if on_gpu else 1),
            max_task_retries=_TRIES,
            **each,
        )
    )
    for batch in found.iter_batches(batch_size=1, prefetch_batches=0, batch_format="numpy"):
        yield from batch["content"]


def _configure() -> None:
    """Let Ray Data keep the order, make a block of each row, and say nothing."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # bytes: so rows are handed on when they are there
    logging.disable(logging.CRITICAL)
