"""The pages, a module each: `read` gives its values, which are JSON, and `decide` takes a form where it has one."""
