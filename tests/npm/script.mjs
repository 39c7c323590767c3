// The common script of calls, through the official npm package: node script.mjs BASE_URL MODEL.
// Prints one JSON object with what came back.
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const told = {};

const answer = await client.chat.completions.create({ model, messages });
told.plain = answer.choices[0].message.content;
told.tokens = answer.usage.total_tokens;

const stream = await client.chat.completions.create({
  model,
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
told.streamed = "";
for await (const chunk of stream) {
  told.streamed += chunk.choices[0]?.delta?.content ?? "";
  told.streamedTokens = chunk.usage?.total_tokens ?? null;
}

const called = await client.chat.completions.create({ model, messages, tools });
const call = called.choices[0].message.tool_calls[0].function;
told.call = [call.name, JSON.parse(call.arguments)];

const response = await client.responses.create({ model, input: "hello" });
told.response = response.output_text;
told.responseStreamed = "";
for await (const event of await client.responses.create({ model, input: "hello", stream: true })) {
  if (event.type === "response.output_text.delta") told.responseStreamed += event.delta;
  told.lastEvent = event.type;
}

const schema = { name: "place", schema: parameters };
const json = await client.chat.completions.create({
  model,
  messages,
  response_format: { type: "json_schema", json_schema: schema },
});
told.json = json.choices[0].message.content;

try {
  told.embedding = (await client.embeddings.create({ model, input: "hello" })).data[0].embedding;
} catch (error) {
  told.embedding = [error.status, error.param];
}

try {
  await client.chat.completions.create({ model: "nope", messages });
} catch (error) {
  told.error = [error.constructor.name, error.status, error.code];
}

console.log(JSON.stringify(told));
