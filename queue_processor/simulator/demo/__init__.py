"""Interruptions on one machine: the real operator in a simulated AWS and cluster.

Read `scenario` and `scenarios` (what happens), `messages` and `environment` (how it is played),
`operator` (the process under test), `results`, `timelines`, `workloads` and `checks` (what is
measured and required), `run` (the whole), `display`, `summary` and `report` (how it looks), and
`playground` (what a kept demo offers to a shell).
"""
