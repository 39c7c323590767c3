"""Policies and techniques beside one another: quality and every cost, in one table."""
