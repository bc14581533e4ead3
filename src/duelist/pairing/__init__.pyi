from .as_drawn import AsDrawn as AsDrawn
from .as_given import AsGiven as AsGiven
from .base import Pairing as Pairing
from .cross_prompt import CrossPrompt as CrossPrompt
from .cross_prompt import CrossPromptConfig as CrossPromptConfig
from .in_prompt import InPrompt as InPrompt
from .in_prompt import InPromptConfig as InPromptConfig
