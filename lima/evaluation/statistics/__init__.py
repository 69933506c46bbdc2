"""Statistics of evaluations: pure functions on numbers (LIMA §4, §5).

Modules that need a large library (agreement, ranking, length_control, …) are imported by their own names.
"""

from lima.evaluation.statistics.clusters import bootstrap as bootstrap
from lima.evaluation.statistics.estimates import Interval as Interval
from lima.evaluation.statistics.estimates import NothingToMeasure as NothingToMeasure
from lima.evaluation.statistics.estimates import two_sided_z as two_sided_z
from lima.evaluation.statistics.power import minimum_detectable_difference as minimum_detectable_difference
from lima.evaluation.statistics.preference import USABLE as USABLE
from lima.evaluation.statistics.preference import Preference as Preference
from lima.evaluation.statistics.preference import measure_preference as measure_preference
from lima.evaluation.statistics.proportions import wilson as wilson
from lima.evaluation.statistics.significance import holm as holm
from lima.evaluation.statistics.significance import sign_flip as sign_flip
