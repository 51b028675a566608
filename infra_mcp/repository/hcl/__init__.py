"""Reads HCL (Terraform's language) as JSON values with their positions, and sets values in it by spans."""
