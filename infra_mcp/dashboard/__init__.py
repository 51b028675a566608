"""The dashboard: pages on which an operator sees what needs them, looks at the evidence, and decides."""
