"""The one place that prints, and how far long work is."""
