"""What was asked, decided and done: durable before any effect, append-only, hash-chained, searchable."""
