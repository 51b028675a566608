"""The driver for Kubernetes manifests kept as raw YAML."""
