"""One module for each form that a run can be exported to.

:mod:`parallelbench.analysis.exports.export` is the contract that they fill.
"""
