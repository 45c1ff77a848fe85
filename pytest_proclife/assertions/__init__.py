"""What a test says of the processes of a run: claims, and the words of their failures."""
