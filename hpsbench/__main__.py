"""``python -m hpsbench``."""

from hpsbench.cli.main import main

if __name__ == "__main__":
    main()
