"""Pure mathematics: numbers in, numbers out."""
