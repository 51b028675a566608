"""The DNS protocol: queries, transfers and dynamic updates; records as text."""
