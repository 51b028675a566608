"""Policy texts that several tests are built on."""

# The circle docs, which may deploy its own app.
DOCS = """
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy"]
images = ["registry.example/docs/*"]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
"""
