"""The audit of an attack: is the robustness that it reports that of the model, or a failure of the attack?

Every result carries the light checks (`carried`), made of the journal. `medrobust audit` makes the others
(`thorough`) with the model at hand, on a sample of the questions.
"""
