"""`python -m learning_loop` is the command line."""

from learning_loop.cli import main

if __name__ == "__main__":
    main()
