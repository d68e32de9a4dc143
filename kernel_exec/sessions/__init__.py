"""Sessions: a kernel with a queue and a history."""
