"""Verification of an entry: every record derived again from what it claims to be."""
