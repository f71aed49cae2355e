"""`python -m pixelwise` is `pixelwise`."""

from pixelwise.cli import main

if __name__ == "__main__":
    main()
