"""`python -m partranscribe`."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="partranscribe")
