from .base import Annotator as Annotator
from .base import History as History
from .base import Prelabeller as Prelabeller
from .base import Prelabelling as Prelabelling
from .base import label_id as label_id
from .dataset_labels import DatasetLabels as DatasetLabels
from .dataset_labels import DatasetLabelsConfig as DatasetLabelsConfig
from .judge import JudgeAnnotator as JudgeAnnotator
from .people import People as People
from .people import PeopleConfig as PeopleConfig
from .reading_time import ReadingTime as ReadingTime
from .reading_time import StudyReadingTime as StudyReadingTime
from .reward import (
    RewardFunctionAnnotator as RewardFunctionAnnotator,
)
from .reward import (
    RewardFunctionConfig as RewardFunctionConfig,
)
from .reward import (
    RewardModelAnnotator as RewardModelAnnotator,
)
from .reward import (
    RewardModelAnnotatorConfig as RewardModelAnnotatorConfig,
)
