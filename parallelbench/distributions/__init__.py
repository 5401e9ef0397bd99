"""Answer distributions: exact conditionals, counts and draws for lists and for structures."""
