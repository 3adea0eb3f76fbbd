"""Tiny models of real architectures: their own configurations, processors and image processors, random weights.

Each builder returns a model and its processor. The vocabulary is a byte-level BPE of a few hundred tokens with the
special tokens that the family's processor expects.
"""

from tests.models.families.blip import blip_2, instructblip
from tests.models.families.cohere import aya_vision, cohere2_vision
from tests.models.families.compact import lfm2_vl, minicpmv4_6, ovis2
from tests.models.families.family import Family, spread_weights
from tests.models.families.google import gemma3, gemma4, paligemma
from tests.models.families.idefics import idefics2, idefics3, smolvlm
from tests.models.families.llava import deepseek_vl, internvl, llava, llava_next, llava_onevision, mistral3
from tests.models.families.meta import chameleon, llama4, mllama
from tests.models.families.qwen import glm4v, qwen2_5_vl, qwen2_vl, qwen3_5, qwen3_vl

__all__ = ["FAMILIES", "Family", "qwen2_vl", "spread_weights"]

FAMILIES = {
    "Qwen2-VL": Family(qwen2_vl, native=(64, 80)),
    "Qwen2.5-VL": Family(qwen2_5_vl, native=(64, 80)),
    "Qwen3-VL": Family(qwen3_vl, native=(64, 80)),
    "Qwen3.5": Family(qwen3_5, native=(64, 80)),
    "GLM-4V": Family(glm4v, native=(64, 80)),
    "LLaVA": Family(llava, native=(64, 80)),
    "LLaVA-NeXT": Family(llava_next, native=None),
    "LLaVA-OneVision": Family(llava_onevision, native=None),
    "Idefics2": Family(idefics2, native=(48, 64)),
    "Idefics3": Family(idefics3, native=None),
    "SmolVLM": Family(smolvlm, native=None),
    "Gemma 3": Family(gemma3, native=(64, 64)),
    "Gemma 4": Family(gemma4, native=(64, 64)),
    "InternVL": Family(internvl, native=(32, 32)),
    "Aya Vision": Family(aya_vision, native=(64, 64)),
    "PaliGemma": Family(paligemma, native=(64, 64)),
    "Mllama": Family(mllama, native=(32, 64)),
    "Llama 4": Family(llama4, native=(32, 32)),
    "Mistral 3": Family(mistral3, native=(48, 64)),
    "LFM2-VL": Family(lfm2_vl, native=(64, 64)),
    "Ovis2": Family(ovis2, native=(32, 32)),
    "Cohere2 Vision": Family(cohere2_vision, native=(32, 32)),
    "MiniCPM-V 4.6": Family(minicpmv4_6, native=(64, 64)),
    "DeepSeek-VL": Family(deepseek_vl, native=(64, 64)),
    "BLIP-2": Family(blip_2, native=(64, 64)),
    "InstructBLIP": Family(instructblip, native=(64, 64), batchable=False),
    "Chameleon": Family(chameleon, native=(32, 32), differentiable=False),
}
