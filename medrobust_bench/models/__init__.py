"""Vision-language models behind one protocol, and the cards that describe them."""
