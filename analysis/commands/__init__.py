"""The verbs that analyse: report, bounds, compare, replay, export, judge, dependence."""
