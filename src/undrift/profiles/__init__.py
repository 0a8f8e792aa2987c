"""Summaries of table windows, and their differences: everything undrift watches is a comparison of two profiles.

A *profile* is the summary of a *window* (the rows of some stretch of time, or a whole data set): for each column how
many rows and nulls, the range, mean, quantiles, distinct values, frequent values and a histogram, and a small sample of
rows. Its size does not follow the number of rows. Profiles *merge*: hours become days, windows become a *reference*,
devices become a fleet, and the order does not matter. The same table gives the same bytes, so figures can be
reproduced. Every table gets a result, also the empty, the constant and the one with types nobody has thought of.

What is different here: `compare` never sees a row. It holds a *current* window against a *reference* and says first how
much changed (the *drift score*, 0 to 1, and the *chance score* that equal windows would have), then how surprising that
is (p-values, and q-values over all columns). `explain_shift` asks whether numbers that moved are the old ones in
another unit. The distances are functions of counts, for whoever has counts.

numpy and polars are loaded by the first call, not by importing this room.
"""

from undrift.profiles.affine import CONVERSIONS, Conversion, UnitChange, explain_shift
from undrift.profiles.compare import ColumnComparison, Comparison, compare
from undrift.profiles.distances import (
    chance_score,
    chi_square,
    cramers_v,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    total_variation,
    wasserstein,
)
from undrift.profiles.merge import merge
from undrift.profiles.model import ColumnProfile, FrequentItems, Histogram, Kind, Profile, RowSample
from undrift.profiles.significance import chi_square_p, false_discovery, kolmogorov_p
from undrift.profiles.summarise import profile

__all__ = [
    "CONVERSIONS",
    "ColumnComparison",
    "ColumnProfile",
    "Comparison",
    "Conversion",
    "FrequentItems",
    "Histogram",
    "Kind",
    "Profile",
    "RowSample",
    "UnitChange",
    "chance_score",
    "chi_square",
    "chi_square_p",
    "compare",
    "cramers_v",
    "explain_shift",
    "false_discovery",
    "hellinger",
    "jensen_shannon",
    "kolmogorov_p",
    "kolmogorov_smirnov",
    "merge",
    "profile",
    "psi",
    "total_variation",
    "wasserstein",
]
