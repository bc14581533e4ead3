from .round_report import RoundReport as RoundReport
from .study import Study as Study
