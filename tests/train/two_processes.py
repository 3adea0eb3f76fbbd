"""One of two processes of a training run; writes down what it saw. Started by test_at_grpo."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from medrobust_bench.data.phantoms import phantom_questions
from medrobust_bench.train.rl_settings import RlSettings
from tests.train.grpo import digest, trainer_of, weights_of


def main(folder: Path) -> None:
    settings = RlSettings.model_validate_json((folder / "settings.json").read_text(encoding="utf-8"))
    questions = phantom_questions("train", per_modality=5, seed=3)
    trainer = trainer_of(settings, questions, folder / "out")
    rows = [trainer.train_dataset[number] for number in range(4)]

    def images() -> dict[str, str]:
        return {row["question"].id: digest(row) for row in trainer._perturbed(rows)}

    seen: dict[str, Any] = {"world": trainer.accelerator.num_processes, "before": images()}
    perturb, trained_on = trainer._perturbed, {}

    def watched(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        perturbed: list[dict[str, Any]] = perturb(inputs)
        trained_on.update(
            {f"{trainer.state.global_step} {row['question'].id}": digest(row) for row in perturbed}
        )
        return perturbed

    trainer._perturbed = watched
    trainer.train()
    trainer._perturbed = perturb
    seen |= {"after": images(), "trained_on": trained_on, "weights": weights_of(trainer.model)}
    (folder / f"{trainer.accelerator.process_index}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
