"""Grading of course exercises: what was handed in, what it is worth, and in which words."""
