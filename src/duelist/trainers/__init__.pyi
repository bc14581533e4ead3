from .base import Trainer as Trainer
from .base import TrainingPlan as TrainingPlan
from .bradley_terry import BradleyTerry as BradleyTerry
from .bradley_terry import BradleyTerryConfig as BradleyTerryConfig
from .dpo import DPO as DPO
from .dpo_settings import DPOTrainerConfig as DPOTrainerConfig
from .rlhf import RLHF as RLHF
from .rlhf_settings import RLHFConfig as RLHFConfig
