"""What pyproject.toml cannot say: the cards stand beside the package and are installed inside it."""

from setuptools import find_namespace_packages, setup

CARDS = ("model_cards", "data_cards")

setup(
    packages=[
        *find_namespace_packages(include=["medrobust_bench*"]),
        *(f"medrobust_bench.{cards}" for cards in CARDS),
    ],
    package_dir={f"medrobust_bench.{cards}": cards for cards in CARDS},
)
