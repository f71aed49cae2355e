"""The doctor: what is wrong with a dataset, before it costs a night of training."""

from pixelwise.doctor.examination import Diagnosis, examine, open_all, quick_check
from pixelwise.doctor.findings import KINDS, Finding, Kind, Severity

__all__ = ["KINDS", "Diagnosis", "Finding", "Kind", "Severity", "examine", "open_all", "quick_check"]
