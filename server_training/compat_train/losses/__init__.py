"""Losses as plain functions, one idea a file; they import nothing of the project."""
