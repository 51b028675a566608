"""The driver for DNS zones: records kept in git, made live by one of several back ends, confirmed by name servers."""
