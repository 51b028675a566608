"""The outside systems, each with one package that alone imports its library."""
