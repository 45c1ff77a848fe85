"""From the log of a run to its account: pure functions of values, in the order of this listing."""
