"""Monitoring: says when a model is not right any more, since when, why it looks so, and whose it is.

Words: *label* (what really happened, by prediction id, whenever it comes), *window* (a stretch of event time, closed
once and restated when labels come late), *maturity*, *watch*, *finding*, *incident*. Data faults and changed worlds
are kept apart, because only one of them is mended by retraining.
"""

from undrift.monitoring.labels import (
    FindLabelAccount,
    ListCorrections,
    RecordLabels,
    find_label_account,
    list_corrections,
    record_labels,
)
from undrift.monitoring.model import (
    DriftWatch,
    Finding,
    Incident,
    Label,
    LabelAccount,
    LabelCorrection,
    LabelReport,
    Measure,
    Monitor,
    PerformanceWatch,
    QualityWatch,
    Source,
    Watch,
    Window,
)
from undrift.monitoring.observe import Observation, Observer, labelled_predictions
from undrift.monitoring.operations import (
    AcknowledgeIncident,
    DescribeIncident,
    FindIncident,
    ListIncidents,
    ListWindows,
    acknowledge_incident,
    describe_incident,
    find_incident,
    list_incidents,
    list_windows,
)

__all__ = [
    "AcknowledgeIncident",
    "DescribeIncident",
    "DriftWatch",
    "FindIncident",
    "FindLabelAccount",
    "Finding",
    "Incident",
    "Label",
    "LabelAccount",
    "LabelCorrection",
    "LabelReport",
    "ListCorrections",
    "ListIncidents",
    "ListWindows",
    "Measure",
    "Monitor",
    "Observation",
    "Observer",
    "PerformanceWatch",
    "QualityWatch",
    "RecordLabels",
    "Source",
    "Watch",
    "Window",
    "acknowledge_incident",
    "describe_incident",
    "find_incident",
    "find_label_account",
    "labelled_predictions",
    "list_corrections",
    "list_incidents",
    "list_windows",
    "record_labels",
]
