"""``python -m cliphouse``."""

from cliphouse.cli import main

if __name__ == "__main__":
    main()
