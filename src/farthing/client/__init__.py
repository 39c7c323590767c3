"""Models and plans without a server: OpenAI-shaped clients in the process that asks."""
