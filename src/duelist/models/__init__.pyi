from .policy.config import PolicyConfig as PolicyConfig
from .policy.policy import Policy as Policy
from .rewards.functions import Reward as Reward
from .rewards.network import RewardModel as RewardModel
from .trained import Models as Models
