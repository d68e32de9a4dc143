"""A notebook as what people open: a file in one of four formats."""
