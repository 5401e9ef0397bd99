"""The command ``parallelbench``: verbs and their arguments."""
