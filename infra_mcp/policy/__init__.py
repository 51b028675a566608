"""What may be done, by whom: read from infra.toml, accepted by an operator, decided without side effects."""
