"""Analysis of records: tables, figures and one page per run, all derived and rebuildable.

Everything here starts from :mod:`parallelbench.results.result` and can be made again from a run
directory alone.  The verb is ``parallelbench report``.
"""
