"""The report: who can reach what, for people who write no policies."""

from meshid.policy.report.html import as_html
from meshid.policy.report.matrix import Cell, Matrix, Report, Verdict
from meshid.policy.report.text import as_json, as_mermaid, as_table

__all__ = ["Cell", "Matrix", "Report", "Verdict", "as_html", "as_json", "as_mermaid", "as_table"]
