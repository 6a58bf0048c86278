"""Draws the kanji set from the fonts of a machine: faces, glyphs, the plan of splits, the builder."""
