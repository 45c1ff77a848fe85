"""Notes the processes that a guarded test process starts."""
