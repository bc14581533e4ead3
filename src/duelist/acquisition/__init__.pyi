from .a_v_opt import (
    AOpt as AOpt,
)
from .a_v_opt import (
    AOptConfig as AOptConfig,
)
from .a_v_opt import (
    VOpt as VOpt,
)
from .a_v_opt import (
    VOptConfig as VOptConfig,
)
from .activedpo import ActiveDPO as ActiveDPO
from .activedpo import ActiveDPOConfig as ActiveDPOConfig
from .aplp import APLP as APLP
from .aplp import APLPConfig as APLPConfig
from .apo import APO as APO
from .apo import APOConfig as APOConfig
from .bald import BALD as BALD
from .bald import BALDConfig as BALDConfig
from .base import Acquisition as Acquisition
from .base import Gains as Gains
from .base import choose as choose
from .batchbald import BatchBALD as BatchBALD
from .batchbald import BatchBALDConfig as BatchBALDConfig
from .coreset import Coreset as Coreset
from .coreset import CoresetConfig as CoresetConfig
from .d_opt import (
    DOpt as DOpt,
)
from .d_opt import (
    DOptConfig as DOptConfig,
)
from .d_opt import (
    PastAwareDOpt as PastAwareDOpt,
)
from .d_opt import (
    XtX as XtX,
)
from .dueling import (
    BoundsConfig as BoundsConfig,
)
from .dueling import (
    DeltaUCB as DeltaUCB,
)
from .dueling import (
    InfoMax as InfoMax,
)
from .dueling import (
    InfoMaxConfig as InfoMaxConfig,
)
from .dueling import (
    MaxMinLCB as MaxMinLCB,
)
from .information import Information as Information
from .information import InformationConfig as InformationConfig
from .initial_random import InitialRandom as InitialRandom
from .k_center import KCenter as KCenter
from .k_center import KCenterConfig as KCenterConfig
from .lure import LureConfig as LureConfig
from .margin import (
    Entropy as Entropy,
)
from .margin import (
    Margin as Margin,
)
from .margin import (
    MarginConfig as MarginConfig,
)
from .margin import (
    MaxDiff as MaxDiff,
)
from .options import AcquisitionOptions as AcquisitionOptions
from .policy_gap import PolicyGap as PolicyGap
from .policy_gap import PolicyGapConfig as PolicyGapConfig
from .random import Random as Random
from .thompson import DoubleReverseThompson as DoubleReverseThompson
from .thompson import Thompson as Thompson
from .thompson import ThompsonConfig as ThompsonConfig
from .top import highest as highest
