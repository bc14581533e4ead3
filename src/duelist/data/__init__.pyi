from .prompts import (
    PromptsConfig as PromptsConfig,
)
from .prompts import (
    PromptSet as PromptSet,
)
from .prompts import (
    TargetConfig as TargetConfig,
)
from .prompts import (
    load_prompts as load_prompts,
)
from .rows import row_pair as row_pair
from .rows import row_prompt as row_prompt
from .rows import row_responses as row_responses
from .sources import RowSource as RowSource
