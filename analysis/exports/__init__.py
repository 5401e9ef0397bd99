"""One module for each form that a run can be exported to; :mod:`parallelbench.analysis.export`."""
