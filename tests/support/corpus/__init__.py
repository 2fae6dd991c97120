"""Bad and odd inputs, each with how it must end."""

from support.corpus.bad_scans import BAD_SCANS
from support.corpus.case import Case, Truth
from support.corpus.folders import FOLDERS
from support.corpus.masks import MASKS
from support.corpus.odd_scans import ODD_SCANS
from support.corpus.pipelines import PIPELINES
from support.corpus.series import SERIES
from support.corpus.weights import WEIGHTS

CASES: tuple[Case, ...] = (
    *ODD_SCANS,
    *BAD_SCANS,
    *SERIES,
    *MASKS,
    *FOLDERS,
    *PIPELINES,
    *WEIGHTS,
)

__all__ = ["CASES", "Case", "Truth"]
