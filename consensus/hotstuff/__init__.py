"""Two-phase, chained HotStuff: linear while all is well, and a leader for every view.

D. Malkhi, K. Nayak, "Extended Abstract: HotStuff-2: Optimal Two-Phase Responsive BFT" (eprint 2023/397), with the
timeout certificates of R. Gelashvili and others, "Jolteon and Ditto" (arXiv 2106.10362). Start reading in
``engine``.
"""
