from . import plot as plot
from ._version import __version__ as __version__
from .acquisition.base import Acquisition as Acquisition
from .acquisition.base import choose as choose
from .errors import DuelistError as DuelistError
from .recipe.reading import load_recipe as load_recipe
from .recipe.reading import parse_recipe as parse_recipe
from .recipe.recipe import Recipe as Recipe
from .selection.callback import SelectCallback as SelectCallback
from .selection.choice import Pick as Pick
from .selection.choice import Picks as Picks
from .selection.choice import select as select
from .study.round_report import RoundReport as RoundReport
from .study.study import Study as Study
from .types import (
    Answer as Answer,
)
from .types import (
    Batch as Batch,
)
from .types import (
    Features as Features,
)
from .types import (
    Label as Label,
)
from .types import (
    Preference as Preference,
)
from .types import (
    Prompt as Prompt,
)
from .types import (
    Question as Question,
)
from .types import (
    Response as Response,
)
from .types import (
    Selection as Selection,
)
from .types import (
    Votes as Votes,
)
