"""Learning whether something helps: evidence from what was shown and withheld at random, and what follows from it."""
