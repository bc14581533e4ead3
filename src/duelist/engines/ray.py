"""Workers of Ray, on this machine or on a cluster.

Reference: Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", OSDI 2018.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, final

from pydantic import BaseModel, ConfigDict, Field

from duelist.engines.base import Batch, Engine, Held, Result, Source
from duelist.engines.dispatch import Dispatch
from duelist.engines.worker import Worker
from duelist.errors import EngineError, RecipeError
from duelist.progress import Progress
from duelist.settings.context import Context

# Ray reads both when it is imported or started: no usage statistics, and a cluster of ours listens on 127.0.0.1 alone.
# The second name is misleading: it also decides on Linux whether the node has the address of the network or of the
# machine itself.
_PRIVATE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class RayConfig(BaseModel):
    """Settings of the engine `ray`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=2, ge=1, description="Number of workers; each holds the model.")
    gpus: float = Field(default=0.0, ge=0, description="GPUs of each worker; 0.5: two workers share one.")
    cpus: float = Field(default=1.0, gt=0, description="CPUs of each worker, as Ray counts them.")
    address: str | None = Field(
        default=None,
        description="Address of an existing cluster, or `auto` for the one of this machine; its machines need the "
        "package, the model and the study's folder at the same paths. null: start one on this machine.",
    )
    object_store_mib: int = Field(
        default=256, ge=80, description="Memory of the object store of a cluster that is started, in MiB."
    )
    queued: int = Field(default=2, ge=1, description="Batches that a worker has in hand at most.")
    retries: int = Field(default=2, ge=0, description="Further tries of a batch that failed or whose worker died.")


@final
class RayEngine(Engine):
    """Workers of Ray, each in a process of its own, on this machine or on a cluster (`pip install "duelist[ray]"`)."""

    def __init__(self, config: RayConfig) -> None:
        self.config = config
        self._workers: list[Any] = []
        self._started = False  # whether this engine started or joined the cluster

    def check(self, context: Context) -> None:
        if context.online:
            raise RecipeError(
                "Workers read the policy from the study's folder, where an online study keeps it at checkpoints only, "
                "but the recipe has `online: true` and `engine: ray`: set the engine to local."
            )
        _require_ray()

    def map(
        self,
        source: Source[Held],
        task: Callable[[Held, Batch], Result],
        batches: Sequence[Batch],
        progress: Progress,
    ) -> Iterator[Result]:
        if not batches:
            return
        ray = self._connected()
        while len(self._workers) < self.config.workers:
            self._workers.append(self._new_worker(ray))
        work = ray.put((source, task))  # sent to each machine once
        dispatch = Dispatch(
            ray, self._workers, lambda: self._new_worker(ray), self.config.queued, self.config.retries, progress
        )
        yield from dispatch.results(work, batches)

    def close(self) -> None:
        if self._workers or self._started:
            import ray

            for worker in self._workers:
                with suppress(Exception):  # the cluster may be gone
                    ray.kill(worker)
            if self._started:
                ray.shutdown()
        self._workers, self._started = [], False

    def _connected(self) -> Any:
        """Join or start a cluster, unless this process is in one, and return the module of Ray.

        Raises:
            RecipeError: if Ray is not installed, or the cluster has too few CPUs or GPUs.
        """
        _require_ray()
        with _environment(_PRIVATE if self.config.address is None else {"RAY_USAGE_STATS_ENABLED": "0"}):
            import ray

            if not ray.is_initialized():
                self._start(ray)
        found = ray.cluster_resources()
        for kind, each in (("CPU", self.config.cpus), ("GPU", self.config.gpus)):
            needed = each * self.config.workers
            if needed > found.get(kind, 0.0) + 1e-9:
                self.close()
                raise RecipeError(
                    f"`engine.workers` × {kind}s of each must be in the cluster, but {self.config.workers} workers "
                    f"need {needed:g} {kind}s and it has {found.get(kind, 0.0):g}: lower `workers`, `cpus` or `gpus`, "
                    "or add machines before the run."
                )
        return ray

    def _start(self, ray: Any) -> None:
        config = self.config
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if config.address is not None:
            try:
                ray.init(address=config.address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise RecipeError(
                    f"`engine.address` must be that of a running Ray cluster, but {config.address!r} is not: {error} "
                    "Start it (`ray start --head`), or set the address to null."
                ) from error
        else:
            try:
                ray.init(
                    num_cpus=math.ceil(config.workers * config.cpus),
                    object_store_memory=config.object_store_mib * 2**20,
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
            except Exception as error:  # Ray raises plain exceptions here
                raise EngineError(
                    f"A cluster of Ray must start on this machine, but did not: {error} Run the same command again "
                    "when the machine is less busy, or use the engine `local`."
                ) from error
        self._started = True

    def _new_worker(self, ray: Any) -> Any:
        # A worker that dies is replaced by `Dispatch`, which counts what its batches did; Ray restarts none.
        remote = ray.remote(num_cpus=self.config.cpus, num_gpus=self.config.gpus, max_restarts=0)(Worker)
        return remote.remote()


def _require_ray() -> None:
    """Check that Ray is installed.

    Raises:
        RecipeError: if it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise RecipeError('`engine: ray` needs Ray, which is not installed: run `pip install "duelist[ray]"`.')


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables within the block; those that are set already keep their values."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
