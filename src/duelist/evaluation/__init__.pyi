from .held_out import EvaluationConfig as EvaluationConfig
from .held_out import evaluate as evaluate
