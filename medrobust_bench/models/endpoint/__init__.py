"""Models behind a server that speaks OpenAI's chat completions: vLLM, SGLang, `transformers serve`, hosted models."""
