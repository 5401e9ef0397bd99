"""Measures of finished runs: accuracy, speed, intervals and causes of lost accuracy."""
