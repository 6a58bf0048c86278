"""Sections of the report: each is there where its figures are."""
