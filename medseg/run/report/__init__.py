"""A run's or an evaluation's results as pages that open from disk."""

from medseg.run.report.writing import Elsewhere, ReportSummary, check_packages, write_report

__all__ = ["Elsewhere", "ReportSummary", "check_packages", "write_report"]
