"""What notes the starts in a guarded test process."""
