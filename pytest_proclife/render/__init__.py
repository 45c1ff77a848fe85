"""Words and pictures of a run, for people. Nothing reads them again."""
