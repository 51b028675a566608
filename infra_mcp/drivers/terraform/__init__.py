"""The driver of Terraform workspaces."""
