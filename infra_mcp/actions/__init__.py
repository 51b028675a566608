"""What each action changes in the repository: one file for each action, listed in `registry`. They know no driver."""
