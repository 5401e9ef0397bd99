"""The work of the core's verbs, a module each, imported when the verb runs."""
