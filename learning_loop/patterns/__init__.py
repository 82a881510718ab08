"""What recurs in the history: successes, failures, performance, dependencies; each tested, with its numbers.

`find` is where to begin. Nothing is imported here: a run that looks for anti-patterns need not wait for numpy.
"""
