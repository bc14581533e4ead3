from .functions import FunctionReward as FunctionReward
from .functions import ModelReward as ModelReward
from .functions import Reward as Reward
from .network import RewardModel as RewardModel
