"""Results to tables: printed, as a leaderboard CSV, as an HTML page. No model is imported here."""

from hpsbench.report.leaderboard import leaderboard, write_csv
from hpsbench.report.load import load_results
from hpsbench.report.tables import result_table, write_html

__all__ = ["leaderboard", "load_results", "result_table", "write_csv", "write_html"]
