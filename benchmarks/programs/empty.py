"""The empty script: what remains is the cost of a run."""
