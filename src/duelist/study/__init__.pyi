from .study import RoundReport as RoundReport
from .study import Study as Study
