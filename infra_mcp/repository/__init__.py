"""The infra repository as a value: load a commit, find an object, edit it as bytes, write a commit's message."""
