"""Features: values of an entity as they were known at a moment, the same in training and in serving.

Words: *feature view* (entity, event time, known-at time, time to live), *point-in-time join*, *status* (present,
missing, expired, quarantined), *training table*. A value that was not known yet is never given.
"""

from undrift.features.join import point_in_time_join
from undrift.features.model import Aggregate, FeatureView
from undrift.features.training import TrainingTable, training_table

__all__ = ["Aggregate", "FeatureView", "TrainingTable", "point_in_time_join", "training_table"]
