"""A notebook that is run again, and compared with what it holds."""
