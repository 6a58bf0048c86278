"""One training by several processes, one for each GPU, with the result of one process and the same batch."""
