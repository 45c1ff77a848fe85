"""Everything that runs in the zygote and the supervisors, and in no other process."""
