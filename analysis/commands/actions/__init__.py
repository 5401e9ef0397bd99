"""The work of the verbs that analyse runs, a module each, imported when the verb runs."""
