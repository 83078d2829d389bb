"""Measurements against named peers, both in one run on one machine, since only ratios travel to another one."""
