"""Files of tables and of JSON, safe to write and to read."""
