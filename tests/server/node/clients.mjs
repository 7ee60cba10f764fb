// Drives a running rekindle-server with npm's openai, ollama, and ai with @ai-sdk/openai-compatible.
//
//     node clients.mjs ADDRESS MODEL CALLER
//
// CALLER is a model whose template has tools. Each call is made, its answer checked, and its outcome printed. The exit
// status is 1 if one of them failed.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateText, jsonSchema, Output, streamText, tool } from 'ai';
import { Ollama } from 'ollama';
import OpenAI from 'openai';

const [address, MODEL, CALLER] = process.argv.slice(2);
const messages = [{ role: 'user', content: 'And God said' }];
const person = {
  type: 'object', required: ['righteous', 'years'], additionalProperties: false,
  properties: { righteous: { type: 'boolean' }, years: { type: 'integer', minimum: 1, maximum: 969 } },
};
const parameters = {
  type: 'object', required: ['city'], additionalProperties: false, properties: { city: { enum: ['Ur', 'Nineveh'] } },
};
const tools = [{ type: 'function', function: { name: 'weather', description: 'Tells the weather.', parameters } }];
// The small model writes a call only if it must: as its template has calls.
const written = {
  type: 'object', required: ['name', 'parameters'], additionalProperties: false,
  properties: { name: { const: 'weather' }, parameters }, 'x-guidance': { whitespace_flexible: false },
};
const format = (schema) => ({ type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } });

const o = new OpenAI({ baseURL: `${address}/v1`, apiKey: 'none', maxRetries: 0 });
const l = new Ollama({ host: address });
const calls = [];
const call = (name, f) => calls.push([name, f]);

// openai

call('openai models.list', async () => {
  const ids = (await o.models.list()).data.map((m) => m.id);
  assert(ids.includes(MODEL) && ids.includes(CALLER), ids);
  return `${ids.length} models`;
});

const ask = { model: MODEL, messages, max_tokens: 10, seed: 1 };

call('openai chat.completions.create', async () => {
  const a = await o.chat.completions.create(ask);
  assert.equal(a.choices[0].finish_reason, 'length');
  assert.equal(a.usage.completion_tokens, 10);
  return JSON.stringify(a.choices[0].message.content);
});

call('openai chat.completions.create, stream', async () => {
  const whole = await o.chat.completions.create(ask);
  let text = '', n = 0, usage;
  for await (const c of await o.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
    text += c.choices[0]?.delta.content ?? '';
    usage = c.usage ?? usage;
    n++;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, 10);
  return `${n} chunks, the text of the call without stream`;
});

call('openai chat.completions.create, stop', async () => {
  const text = (await o.chat.completions.create(ask)).choices[0].message.content;
  const a = await o.chat.completions.create({ ...ask, stop: [text.slice(3, 6)] });
  assert.equal(a.choices[0].message.content, text.slice(0, 3));
  assert.equal(a.choices[0].finish_reason, 'stop');
  return `stopped before ${JSON.stringify(text.slice(3, 6))}`;
});

call('openai chat.completions.create, JSON schema', async () => {
  const a = await o.chat.completions.create({ ...ask, max_tokens: 100, response_format: format(person) });
  const p = JSON.parse(a.choices[0].message.content);
  assert.equal(typeof p.righteous, 'boolean');
  return JSON.stringify(p);
});

call('openai chat.completions.stream, tools', async () => {
  const s = o.chat.completions.stream({ model: CALLER, messages, max_tokens: 100, tools, response_format: format(written) });
  const a = await s.finalChatCompletion();
  const c = a.choices[0].message.tool_calls[0];
  assert.equal(a.choices[0].finish_reason, 'tool_calls');
  assert.equal(c.function.name, 'weather');
  assert(c.id && parameters.properties.city.enum.includes(JSON.parse(c.function.arguments).city), c);
  return `${c.function.name} ${c.function.arguments}`;
});

call('openai chat.completions.create, the result of a tool', async () => {
  const asked = {
    role: 'assistant', content: null,
    tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city": "Ur"}' } }],
  };
  const told = { role: 'tool', tool_call_id: 'call_1', content: 'Dry.' };
  const a = await o.chat.completions.create({ ...ask, model: CALLER, messages: [...messages, asked, told], tools });
  assert.equal(a.usage.completion_tokens, 10);
  return JSON.stringify(a.choices[0].message.content);
});

call('openai embeddings.create', async () => {
  const a = await o.embeddings.create({ model: MODEL, input: ['And God said', 'In the beginning'] });
  assert.equal(a.data.length, 2);
  const sum = a.data[0].embedding.reduce((s, v) => s + v * v, 0);
  assert(Math.abs(sum - 1) < 1e-3, sum);
  return `${a.data.length} rows of ${a.data[0].embedding.length}`;
});

call('openai, a stream that is aborted', async () => {
  const s = await o.chat.completions.create({ ...ask, max_tokens: 100000, ignore_eos: true, stream: true });
  for await (const _ of s) break;
  s.controller.abort();
  return 'aborted';
});

call('openai, an unknown model', async () => {
  await assert.rejects(o.chat.completions.create({ ...ask, model: 'nobody' }), (e) => e.status === 404 && e.code === 'model_not_found');
  return 'NotFoundError';
});

// ai with @ai-sdk/openai-compatible

const ai = createOpenAICompatible({
  name: 'rekindle', baseURL: `${address}/v1`, includeUsage: true, supportsStructuredOutputs: true,
});
const model = ai.chatModel(MODEL);

call('ai generateText', async () => {
  const a = await generateText({ model, prompt: 'And God said', maxOutputTokens: 10, maxRetries: 0 });
  assert.equal(a.finishReason, 'length');
  assert.equal(a.usage.outputTokens, 10);
  return JSON.stringify(a.text);
});

call('ai streamText', async () => {
  const a = streamText({ model, prompt: 'And God said', maxOutputTokens: 10, maxRetries: 0 });
  let text = '';
  for await (const piece of a.textStream) text += piece;
  assert.equal(await a.finishReason, 'length');
  assert.equal((await a.usage).outputTokens, 10);
  return JSON.stringify(text);
});

call('ai generateText, JSON schema', async () => {
  const a = await generateText({
    model, prompt: 'And God said', maxOutputTokens: 100, maxRetries: 0, output: Output.object({ schema: jsonSchema(person) }),
  });
  assert.equal(typeof a.output.righteous, 'boolean');
  return JSON.stringify(a.output);
});

call('ai streamText, tools', async () => {
  const s = streamText({
    model: ai.chatModel(CALLER), prompt: 'And God said', maxOutputTokens: 100, maxRetries: 0,
    tools: { weather: tool({ description: 'Tells the weather.', inputSchema: jsonSchema(parameters) }) },
    providerOptions: { rekindle: { response_format: format(written) } },
  });
  const kinds = new Set(), found = [];
  for await (const part of s.fullStream) {
    kinds.add(part.type);
    if (part.type === 'error') throw part.error;
    if (part.type === 'tool-call') found.push(part);
  }
  assert.equal(found.length, 1, [...kinds].join());
  assert.equal(found[0].toolName, 'weather');
  assert(parameters.properties.city.enum.includes(found[0].input.city), found[0]);
  assert.equal(await s.finishReason, 'tool-calls');
  return [...kinds].join(', ');
});

call('ai embedMany', async () => {
  const a = await embedMany({ model: ai.embeddingModel(MODEL), values: ['And God said', 'a'], maxRetries: 0 });
  return `${a.embeddings.length} rows of ${a.embeddings[0].length}`;
});

call('ai streamText, aborted', async () => {
  const abort = new AbortController();
  const s = streamText({ model, prompt: 'And God said', maxOutputTokens: 500, maxRetries: 0, abortSignal: abort.signal });
  for await (const _ of s.textStream) abort.abort();
  return 'aborted';
});

// ollama

const options = { num_predict: 8, seed: 1 };

call('ollama list, show, ps, version', async () => {
  const names = (await l.list()).models.map((m) => m.model);
  assert(names.includes(`${MODEL}:latest`), names);
  const show = await l.show({ model: CALLER });
  assert(show.capabilities.includes('tools'), show.capabilities);
  assert((await l.ps()).models.length > 0);
  return `${names.length} models; ${show.details.family}, ${show.capabilities}; version ${(await l.version()).version}`;
});

call('ollama chat', async () => {
  const a = await l.chat({ model: MODEL, messages, options });
  assert.equal(a.done_reason, 'length');
  assert.equal(a.eval_count, 8);
  return JSON.stringify(a.message.content);
});

call('ollama chat, stream', async () => {
  const whole = await l.chat({ model: MODEL, messages, options });
  let text = '', last;
  for await (const piece of await l.chat({ model: MODEL, messages, options, stream: true })) {
    text += piece.message.content;
    last = piece;
  }
  assert(last.done);
  assert.equal(text, whole.message.content);
  return 'the text of the call without stream';
});

call('ollama chat, tools', async () => {
  const a = await l.chat({ model: CALLER, messages, tools, format: written, options: { num_predict: 100 } });
  assert.equal(a.message.tool_calls[0].function.name, 'weather');
  assert(parameters.properties.city.enum.includes(a.message.tool_calls[0].function.arguments.city));
  return JSON.stringify(a.message.tool_calls[0].function);
});

call('ollama generate', async () => {
  const a = await l.generate({ model: MODEL, prompt: 'And God said', options });
  return JSON.stringify(a.response);
});

call('ollama embed', async () => {
  const a = await l.embed({ model: MODEL, input: ['And God said', 'a'] });
  return `${a.embeddings.length} rows of ${a.embeddings[0].length}`;
});

call('ollama chat, aborted', async () => {
  const s = await l.chat({ model: MODEL, messages, options: { num_predict: 500 }, stream: true });
  await assert.rejects(async () => {
    for await (const _ of s) s.abort();
  }, { name: 'AbortError' });
  return 'aborted';
});

call('ollama, an unknown model', async () => {
  await assert.rejects(l.chat({ model: 'nobody', messages }), (e) => e.status_code === 404);
  return 'ResponseError';
});

const require = createRequire(import.meta.url);
const wanted = require('./package.json').dependencies;
console.log(Object.entries(wanted).map(([name, version]) => `npm ${name} ${version}`).join('\n'));
let failed = 0;
for (const [name, f] of calls) {
  try {
    console.log(`${name}: ok, ${await f()}`);
  } catch (e) {
    console.log(`${name}: FAILED, ${e.stack ?? e}`);
    failed++;
  }
}
console.log(`${calls.length - failed} of ${calls.length} calls are as they should be`);
process.exit(failed > 0 ? 1 : 0);
