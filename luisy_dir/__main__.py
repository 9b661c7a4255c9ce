"""What ``python -m luisy_dir`` runs: the command ``luisy-dir``."""

from luisy_dir.cli import main

if __name__ == "__main__":
    main()
