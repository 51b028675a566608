"""What a repository holds: its apps, each with its instances, and by which delivery each of them becomes live. Pure."""
