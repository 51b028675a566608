"""What drivers of cluster deliveries share: server-side apply, takeover, health, rollout, undo order."""
