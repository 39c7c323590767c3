"""HTTP in: OpenAI's wire format to and from requests and responses, streaming, configuration."""
