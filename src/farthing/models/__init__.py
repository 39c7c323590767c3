"""Whatever answers a request: HTTP upstreams, embedded models, recordings."""
