"""What pyproject.toml cannot say: the model cards stand beside the package and are installed inside it."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["medrobust_bench*"]), "medrobust_bench.model_cards"],
    package_dir={"medrobust_bench.model_cards": "model_cards"},
)
