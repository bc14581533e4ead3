"""One process of the engine `sharded`; torch's launcher starts it with a job's folder (see `engines.sharded`).

The first process writes the result of each batch into the folder, and reports its number.
"""

from __future__ import annotations

import pickle
import sys
from functools import partial
from pathlib import Path

from duelist.engines.base import prepared
from duelist.engines.launcher import process_of
from duelist.engines.sharded import JOB, RESULT
from duelist.progress import quiet_libraries


def main(folder: Path) -> None:
    """Compute this process's share of the batches of the job in `folder`.

    Raises:
        DuelistError: that the task raised; it is in the folder.
    """
    with process_of(folder) as (rank, report):
        quiet_libraries()
        from torch import distributed

        from duelist.models.policy.sharding import in_turns, require_sharded

        source, task, batches = pickle.loads((folder / JOB).read_bytes())
        policy = source.load(None)
        require_sharded(policy.model, policy.name)
        with prepared(task, policy):
            for number, result in enumerate(in_turns(policy.model, partial(task, policy), batches)):
                if rank == 0:
                    (folder / RESULT.format(number)).write_bytes(pickle.dumps(result))
                    print(number, file=report)
        distributed.barrier()
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
