"""Helm releases as a repository declares them: in files of our own form, in helmfiles, as charts with values."""
