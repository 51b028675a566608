"""The driver for plain manifests: objects of a cluster, as files of the repository say they should be."""
