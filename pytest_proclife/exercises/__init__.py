"""Grading of course exercises: submissions, their results, and feedback for students."""
