"""The rehearsal of an interruption on one machine: what happens, who watches, who keeps the score.

Read `scenario` (what a rehearsal is made of), `scenarios` (the ones there are), `stage` (what
plays them against the simulated AWS and cluster), `evidence` (what is known of the outcome),
`score` and `checks` (what follows from it), `rehearsal` (the whole), `display` (how it looks).
"""
