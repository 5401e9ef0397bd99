"""The command ``parallelbench``.

A verb's module declares its arguments and its help, and imports nothing heavy, so that help
appears at once.  The module of the same name in :mod:`parallelbench.cli.actions` does the work.
"""
