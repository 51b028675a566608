"""Runs Helm, fetches charts, and reads the releases that Helm stores.

`command` imports pyhelm3, which takes a third of a second: a driver imports it in a thread when it connects.
"""
