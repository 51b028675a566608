"""The command line: a thin client of a running server, one module for each verb."""
