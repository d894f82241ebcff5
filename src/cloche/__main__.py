"""Lets ``python -m cloche`` do what the ``cloche`` command does."""

from cloche.cli.main import main

if __name__ == "__main__":
    main()
