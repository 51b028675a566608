"""Zones of the DNS as repositories have them: octoDNS' YAML, DNSEndpoint manifests and zone files."""
