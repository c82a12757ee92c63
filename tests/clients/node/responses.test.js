// The stock openai and ai packages: Responses on a back end that speaks Chat Completions alone.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';

import { createOpenAI } from '@ai-sdk/openai';
import { generateObject, generateText, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

import { DEADLINE_MS, NAME, PUBLIC, Stack } from './stack.js';

let stack, sdk, ai;
before(
  async () => {
    stack = await Stack.start();
    const baseURL = `${stack.url}/v1`;
    sdk = new OpenAI({ baseURL, apiKey: 'client-key', maxRetries: 0, timeout: DEADLINE_MS, logLevel: 'off' });
    ai = createOpenAI({ baseURL, apiKey: 'client-key' }).responses(NAME);
  },
  { timeout: DEADLINE_MS },
);
after(() => stack?.stop());
beforeEach(() => stack.asked());

const usage = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 };
const whole = (message, finish_reason = 'stop') => ({
  body: {
    id: 'c',
    object: 'chat.completion',
    created: 1,
    model: 'm',
    choices: [{ index: 0, message: { role: 'assistant', content: null, ...message }, finish_reason }],
    usage,
  },
});
const chunk = (delta, finish_reason = null) => ({
  data: { id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason }] },
});
const streamed = (deltas, finish = 'stop') => ({
  events: [chunk({ role: 'assistant', content: '' }), ...deltas.map((delta) => chunk(delta)), chunk({}, finish), { data: { choices: [], usage } }, 'done'],
});
const called = (name, args) => [
  { tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name, arguments: '' } }] },
  ...JSON.stringify(args)
    .match(/.{1,5}/gs)
    .map((piece) => ({ tool_calls: [{ index: 0, function: { arguments: piece } }] })),
];
const call = (name, args) => ({
  tool_calls: [{ id: 'call_1', type: 'function', function: { name, arguments: JSON.stringify(args) } }],
});
const said = (pieces) => streamed(pieces.map((content) => ({ content })));
const Person = z.object({ name: z.string(), age: z.number() });

describe('openai', () => {
  test('answers', async () => {
    await stack.say(whole({ content: 'Hello.' }));
    const reply = await sdk.responses.create({ model: NAME, input: 'hi' });
    assert.equal(reply.output_text, 'Hello.');
    assert.equal(reply.model, PUBLIC);
    assert.equal(reply.usage.total_tokens, 18);
  });

  test('streams, and the helper puts the pieces together', async () => {
    await stack.say(said(['Hel', 'lo.']));
    const stream = sdk.responses.stream({ model: NAME, input: 'hi' });
    const deltas = [];
    for await (const event of stream) if (event.type === 'response.output_text.delta') deltas.push(event.delta);
    assert.deepEqual(deltas, ['Hel', 'lo.']);
    assert.equal((await stream.finalResponse()).output_text, 'Hello.');
  });

  test('parses structured output', async () => {
    await stack.say(whole({ content: '{"name":"Ada","age":36}' }));
    const reply = await sdk.responses.parse({ model: NAME, input: 'Who?', text: { format: zodTextFormat(Person, 'person') } });
    assert.deepEqual(reply.output_parsed, { name: 'Ada', age: 36 });
    assert.equal((await stack.asked())[0].response_format.json_schema.name, 'person');
  });

  test('streams calls of tools', async () => {
    await stack.say(streamed(called('weather', { city: 'Oslo' }), 'tool_calls'));
    const tools = [{ type: 'function', name: 'weather', parameters: { type: 'object', properties: {} }, strict: false }];
    const final = await sdk.responses.stream({ model: NAME, input: 'Oslo?', tools }).finalResponse();
    assert.deepEqual(JSON.parse(final.output[0].arguments), { city: 'Oslo' });
    assert.equal(final.output[0].call_id, 'call_1');
  });

  test('sees a cut answer as failed', async () => {
    await stack.say({ events: [chunk({ content: 'Hel' }), 'cut'] });
    const types = [];
    for await (const event of await sdk.responses.create({ model: NAME, input: 'hi', stream: true })) types.push(event.type);
    assert.equal(types.at(-1), 'response.failed');
  });

  test('raises its own errors', async () => {
    await stack.say({ status: 429, headers: { 'retry-after': '7' }, body: { error: { message: 'slow down' } } });
    await assert.rejects(sdk.responses.create({ model: NAME, input: 'hi' }), (error) => {
      assert.ok(error instanceof OpenAI.RateLimitError);
      assert.equal(error.headers.get('retry-after'), '7');
      return true;
    });
    const stored = sdk.responses.create({ model: NAME, input: 'hi', previous_response_id: 'resp_1' });
    await assert.rejects(stored, (error) => error.code === 'previous_response_not_found');
  });
});

describe('ai', () => {
  const add = tool({
    description: 'Adds two numbers.',
    inputSchema: z.object({ a: z.number(), b: z.number() }),
    execute: async ({ a, b }) => a + b,
  });

  test('answers', async () => {
    await stack.say(whole({ content: 'Hello.' }));
    const { text, usage: told, finishReason } = await generateText({ model: ai, prompt: 'hi', maxRetries: 0 });
    assert.deepEqual([text, told.totalTokens, finishReason], ['Hello.', 18, 'stop']);
  });

  test('streams', async () => {
    await stack.say(said(['Hel', 'lo.']));
    const result = streamText({ model: ai, prompt: 'hi', maxRetries: 0 });
    const deltas = [];
    for await (const delta of result.textStream) deltas.push(delta);
    assert.deepEqual(deltas, ['Hel', 'lo.']);
    assert.equal(await result.finishReason, 'stop');
  });

  test('runs a tool and goes on with what came out', async () => {
    await stack.say(whole(call('add', { a: 2, b: 3 }), 'tool_calls'), whole({ content: 'It is 5.' }));
    const { text } = await generateText({ model: ai, prompt: '2+3?', tools: { add }, stopWhen: stepCountIs(3), maxRetries: 0 });
    assert.equal(text, 'It is 5.');
    const asked = await stack.asked();
    assert.deepEqual(asked[1].messages.at(-1), { role: 'tool', tool_call_id: 'call_1', content: '5' });
  });

  // By default the package refers to earlier texts by their ids, and nothing is stored here.
  test('sends the texts between its steps when it is told that nothing is stored', async () => {
    const told = whole({ content: 'Let me add.', ...call('add', { a: 2, b: 3 }) }, 'tool_calls');
    const options = { model: ai, prompt: '2+3?', tools: { add }, stopWhen: stepCountIs(3), maxRetries: 0 };
    await stack.say(told);
    await assert.rejects(generateText(options), /store: false/);
    await stack.say(told, whole({ content: 'It is 5.' }));
    await stack.asked();
    const providerOptions = { openai: { store: false } };
    assert.equal((await generateText({ ...options, providerOptions })).text, 'It is 5.');
    assert.equal((await stack.asked())[1].messages[1].content, 'Let me add.');
  });

  test('does the same while it streams', async () => {
    await stack.say(streamed(called('add', { a: 2, b: 3 }), 'tool_calls'), said(['It is', ' 5.']));
    const result = streamText({ model: ai, prompt: '2+3?', tools: { add }, stopWhen: stepCountIs(3), maxRetries: 0 });
    assert.equal(await result.text, 'It is 5.');
  });

  test('makes objects', async () => {
    await stack.say(whole({ content: '{"name":"Ada","age":36}' }));
    const { object } = await generateObject({ model: ai, schema: Person, prompt: 'Who?', maxRetries: 0 });
    assert.deepEqual(object, { name: 'Ada', age: 36 });
  });

  test('hears why an answer ended early, and when it broke off', async () => {
    await stack.say(streamed([{ content: 'Once' }], 'length'), { events: [chunk({ content: 'Once' }), 'cut'] });
    const short = streamText({ model: ai, prompt: 'Tell', maxRetries: 0 });
    await short.consumeStream();
    assert.equal(await short.finishReason, 'length');
    const cut = streamText({ model: ai, prompt: 'Tell', maxRetries: 0, onError: () => {} });
    await cut.consumeStream({ onError: () => {} });
    assert.notEqual(await cut.finishReason.catch(() => 'error'), 'stop');
  });
});
