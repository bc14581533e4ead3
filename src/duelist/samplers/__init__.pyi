from .base import (
    Counts as Counts,
)
from .base import (
    SampleJob as SampleJob,
)
from .base import (
    Sampler as Sampler,
)
from .base import (
    draws_of as draws_of,
)
from .best_of_n import BestOfN as BestOfN
from .best_of_n import BestOfNConfig as BestOfNConfig
from .dataset import DatasetSampler as DatasetSampler
from .dataset import DatasetSamplerConfig as DatasetSamplerConfig
from .hybrid import Hybrid as Hybrid
from .hybrid import HybridConfig as HybridConfig
from .pilaf import Pilaf as Pilaf
from .pilaf import PilafConfig as PilafConfig
from .t_pilaf import TPilaf as TPilaf
from .t_pilaf import TPilafConfig as TPilafConfig
from .vanilla import Vanilla as Vanilla
from .vanilla import VanillaConfig as VanillaConfig
