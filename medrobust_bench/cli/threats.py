"""`medrobust threats`: which threats there are, and what exactly a name stands for."""

from __future__ import annotations

import click


@click.command()
@click.argument("specification", required=False)
def command(specification: str | None) -> None:
    """List the official threats, or show one SPECIFICATION in full.

    SPECIFICATION is an official name, a YAML file, or either with overrides, just as after
    `medrobust run --threat`: pgd-linf:eps=4/255,steps=50
    """
    import yaml
    from tabulate import tabulate

    from medrobust_bench.specs.registry import load_specification, official_threats

    if specification is not None:
        fields = load_specification(specification).model_dump(mode="json")
        click.echo(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True), nl=False)
        return
    rows = [(threat.name, threat.kind, threat.summary) for threat in official_threats()]
    click.echo(tabulate(rows, headers=("Threat", "Kind", "What the adversary may do"), disable_numparse=True))
