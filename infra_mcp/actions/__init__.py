"""What each action changes in the repository: one file an action, found by `registry`. They know no driver."""
