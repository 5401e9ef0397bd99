"""An entry: its statement and files, and the reader of untrusted folders."""
