"""What knows one kind of infrastructure each. Manifests so far."""
