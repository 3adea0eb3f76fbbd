"""`python -m medrobust_bench`."""

from medrobust_bench.cli import main

main()
