"""Rounds with one crash each: nothing acknowledged is lost, nothing happens twice."""
