"""`duelist status`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from duelist.cli.console import Json, StudyDir, mapping_table, out, print_json, status_rows


def status(study: StudyDir, as_json: Json = False) -> None:
    """Print a study's progress: rounds, labels, pending questions. Works while another process runs the study."""
    from duelist.report.status import status as read_status

    state = read_status(study)
    if as_json:
        print_json(state)
    else:
        out.print(mapping_table(status_rows(state), str(study)))
