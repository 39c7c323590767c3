"""Policies that spend compute at request time, where tiny models or a recording answer."""
