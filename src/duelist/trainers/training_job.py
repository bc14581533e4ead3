"""What a training in several processes is given, and what its processes report."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.types import Decision

if TYPE_CHECKING:
    from duelist.models.policy.config import PolicyConfig

JOB = "job.pickle"
WEIGHTS = "weights"  # folder of the trained weights
REPORT = "report.json"


@dataclass(frozen=True)
class TrainingJob:
    """One training, for every process of it.

    Attributes:
        trainer: settings of the trainer.
        policy: settings of the policy, which name the weights to start from.
        device: type of the device that each process trains on: `cpu` or `cuda`.
        trained: names of the trained parameters.
        reference: folder of the reference's weights; None for the base model.
        decisions: the data.
        scales: see `ScaledDecisions`.
        beta: β of DPO.
        seed: the only source of randomness.
        threads: threads of each process on the CPU.
    """

    trainer: DPOTrainerConfig
    policy: PolicyConfig
    device: str
    trained: frozenset[str]
    reference: Path | None
    decisions: tuple[Decision, ...]
    scales: tuple[float, ...]
    beta: float
    seed: int
    threads: int

    def write(self, folder: Path) -> None:
        """Write the job into a folder that only this user can read: reading it runs what it contains."""
        (folder / JOB).write_bytes(pickle.dumps(self))

    @staticmethod
    def read(folder: Path) -> TrainingJob:
        """Read the job that another process of this user wrote."""
        job: TrainingJob = pickle.loads((folder / JOB).read_bytes())
        return job
