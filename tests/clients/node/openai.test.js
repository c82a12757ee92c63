// The stock openai package over every kind of route, in both path families and the /v1 alias.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import OpenAI from 'openai';

import { DEADLINE_MS, NAME, PUBLIC, SERVED, Stack, eventually } from './stack.js';

const CURRENT = '/apis/inference-gateway/v2/workspaces/default';
const SEED = '/v2/workspaces/default/inference/gateway';
const said = (prompt) => [{ role: 'user', content: prompt }];

// A base path, the model to ask for on it, and the id that comes back.
const ROUTES = [{ path: '/v1', model: NAME, told: PUBLIC, openai: true }];
for (const family of [CURRENT, SEED]) {
  ROUTES.push({ path: `${family}/openai/-/v1`, model: PUBLIC, told: PUBLIC, openai: true });
  ROUTES.push({ path: `${family}/model/${NAME}/-/v1`, model: 'whatever', told: PUBLIC });
  ROUTES.push({ path: `${family}/provider/sim/-/v1`, model: SERVED, told: SERVED });
}

let stack;
before(async () => (stack = await Stack.start()), { timeout: DEADLINE_MS });
after(() => stack?.stop());

// No retries: a test is to see the first answer.
const sdk = (path) =>
  new OpenAI({
    baseURL: stack.url + path,
    apiKey: 'client-key',
    maxRetries: 0,
    timeout: DEADLINE_MS,
    logLevel: 'off',
  });

async function text(stream, told) {
  let content = '';
  for await (const chunk of stream) {
    assert.equal(chunk.model, told);
    content += chunk.choices[0]?.delta.content ?? '';
  }
  return content;
}

for (const { path, model, told, openai } of ROUTES) {
  describe(path, { timeout: 4 * DEADLINE_MS }, () => {
    const chat = (prompt, more = {}, options = {}) =>
      sdk(path).chat.completions.create({ model, messages: said(prompt), ...more }, options);

    test('a chat is answered', async () => {
      const reply = await chat('good morning');
      assert.equal(reply.choices[0].message.content, 'You said: good morning');
      assert.equal(reply.model, told);
    });

    test('a chat is streamed, with its usage when asked for', async () => {
      assert.equal(await text(await chat('grüß dich 世界', { stream: true }), told), 'You said: grüß dich 世界');
      const chunks = [];
      for await (const chunk of await chat('hi', { stream: true, stream_options: { include_usage: true } })) {
        chunks.push(chunk);
      }
      assert.ok(chunks.at(-1).usage.completion_tokens > 0);
    });

    test('a tool is called', async () => {
      const tool = { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } };
      const reply = await chat('use the weather tool', { tools: [{ type: 'function', function: tool }] });
      assert.equal(reply.choices[0].message.tool_calls[0].function.name, 'weather');
    });

    test('text is completed, streamed and not', async () => {
      const reply = await sdk(path).completions.create({ model, prompt: 'once upon' });
      assert.match(reply.choices[0].text, /once upon/);
      assert.equal(reply.model, told);
      let streamed = '';
      for await (const chunk of await sdk(path).completions.create({ model, prompt: 'once upon', stream: true })) {
        streamed += chunk.choices[0]?.text ?? '';
      }
      assert.equal(streamed, reply.choices[0].text);
    });

    test('texts are embedded', async () => {
      const reply = await sdk(path).embeddings.create({ model, input: ['one', 'two'] });
      assert.equal(reply.data.length, 2);
      assert.equal(typeof reply.data[0].embedding[0], 'number');
      assert.equal(reply.model, told);
    });

    // On a model's own route the list is its provider's business.
    const listing = path.includes('/model/') ? () => {} : test;
    listing('models are listed and shown', async () => {
      const ids = [];
      for await (const one of sdk(path).models.list()) ids.push(one.id);
      assert.ok(ids.includes(told), ids.join());
      assert.equal((await sdk(path).models.retrieve(told)).id, told);
    });

    test('errors are of their class and keep their headers', async () => {
      const limited = chat('[[sim: status=429,retry-after=7]] hi');
      await assert.rejects(limited, (error) => {
        assert.ok(error instanceof OpenAI.RateLimitError);
        assert.equal(error.headers.get('retry-after'), '7');
        return true;
      });
      await assert.rejects(chat('[[sim: echo-auth]] hi'), OpenAI.AuthenticationError);
      await assert.rejects(chat('[[sim: status=400]] hi'), OpenAI.BadRequestError);
      await assert.rejects(chat('[[sim: status=503]] hi'), OpenAI.InternalServerError);
      await assert.rejects(chat('[[sim: hang]] hi', {}, { timeout: 300 }), OpenAI.APIConnectionTimeoutError);
    });

    const routing = openai ? test : () => {};
    routing('a model that is not there is not found', async () => {
      const asked = sdk(path).chat.completions.create({ model: 'nobody', messages: said('hi') });
      await assert.rejects(asked, (error) => error instanceof OpenAI.NotFoundError && /nobody/.test(error.message));
      await assert.rejects(sdk(path).models.retrieve('nobody'), OpenAI.NotFoundError);
    });

    test('a cut stream throws and never looks finished', async () => {
      for (const fault of ['cut-after=0', 'cut-after=600', 'reset-after=600', 'cut-utf8']) {
        let finished = null;
        const read = async () => {
          for await (const chunk of await chat(`[[sim: tokens=100,${fault}]] hi`, { stream: true })) {
            finished ??= chunk.choices[0]?.finish_reason;
          }
        };
        await assert.rejects(read, fault);
        assert.equal(finished ?? null, null, fault);
      }
    });

    test('an aborted stream frees the upstream', async () => {
      const { cancelled } = await stack.stats();
      const stream = await chat('[[sim: tokens=100000,token-ms=20]] hi', { stream: true });
      for await (const _ of stream) break;
      await eventually('the upstream sees it', async () => (await stack.stats()).cancelled > cancelled);
    });
  });
}

test('an unknown path gives a JSON error', async () => {
  const reply = await fetch(`${stack.url}/nothing/here`);
  assert.equal(reply.status, 404);
  const body = await reply.json();
  assert.ok(body.error.message && body.detail);
});
