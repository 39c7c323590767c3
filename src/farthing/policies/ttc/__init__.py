"""Quality bought at request time with samples, search and thought; one module a policy."""
