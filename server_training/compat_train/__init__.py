"""Server side: trains gallery models and the query models that may search their galleries."""
