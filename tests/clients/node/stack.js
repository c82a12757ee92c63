// A real gateway in front of a simulated model server, both as processes. What it sets up is set up with
// nimgate's own commands.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const BINARIES = process.env.NIMGATE_BIN_DIR ?? join(ROOT, 'target', 'debug');
const SIM_KEY = 'sim-key-for-the-upstream';

export const DEADLINE_MS = 30_000;
// The upstream's id, and what the gateway makes of it.
export const SERVED = 'sim/echo-8b';
export const NAME = 'sim-echo-8b';
export const PUBLIC = `default/${NAME}`;

function binary(name) {
  const path = join(BINARIES, name);
  if (!existsSync(path)) {
    throw new Error(`${path} is not built; run: cargo build -p ${name} (tests/run does it for you)`);
  }
  return path;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until `probe` gives something true; gives that. */
export async function eventually(what, probe) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await pause(10);
  }
}

export class Stack {
  #processes = [];
  #folder = mkdtempSync(join(tmpdir(), 'nimgate-js-'));
  #options = { cwd: this.#folder, env: { HOME: this.#folder, PATH: process.env.PATH ?? '' } };

  static async start() {
    const stack = new Stack();
    try {
      await stack.#start();
    } catch (error) {
      await stack.stop();
      throw error;
    }
    return stack;
  }

  async #start() {
    const sim = ['--listen', '127.0.0.1:0', '--model', SERVED, '--api-key', SIM_KEY];
    this.sim = await this.#spawn('nim-sim', sim, /(http:\/\/\S+)$/m);
    this.nimgate(['keygen', '--file', 'master.key']);
    const up = ['up', '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--data-dir', 'data'];
    this.url = await this.#spawn('nimgate', [...up, '--master-key-file', 'master.key'], /^ +API +(http:\/\/[0-9.:]+) /m);
    this.nimgate(['secret', 'create', 'sim-key', '--url', this.url], SIM_KEY);
    const provider = ['provider', 'create', 'sim', '--url', this.sim, '--secret', 'sim-key'];
    this.nimgate([...provider, '--gateway-url', this.url]);
  }

  /** Starts a process and waits for a line; gives its first group. */
  async #spawn(name, args, pattern) {
    const child = spawn(binary(name), args, { ...this.#options, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#processes.push(child);
    let printed = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (printed += data));
    return eventually(`${pattern} in what ${name} prints`, () => {
      if (child.exitCode !== null) throw new Error(`${name} ended:\n${printed}`);
      return printed.match(pattern)?.[1];
    });
  }

  /** Runs one of nimgate's commands to its end. */
  nimgate(args, input = '') {
    const done = spawnSync(binary('nimgate'), args, { ...this.#options, input, encoding: 'utf8', timeout: DEADLINE_MS });
    if (done.status !== 0) throw new Error(`${args.join(' ')}: ${done.stdout}${done.stderr}`);
    return done.stdout;
  }

  /** Lines up what the model server is to say, word for word; each reply is used once. */
  async say(...replies) {
    const done = await fetch(`${this.sim}/__sim/script`, { method: 'PUT', body: JSON.stringify(replies) });
    if (!done.ok) throw new Error(await done.text());
  }

  /** The bodies of the chat requests that the model server received since the last look. */
  async asked() {
    const requests = await (await fetch(`${this.sim}/__sim/requests`)).json();
    await fetch(`${this.sim}/__sim/requests`, { method: 'DELETE' });
    return requests
      .filter((one) => one.target.endsWith('/chat/completions'))
      .map((one) => JSON.parse(Buffer.from(one.body, 'base64').toString()));
  }

  async stats() {
    return (await fetch(`${this.sim}/__sim/stats`)).json();
  }

  async stop() {
    for (const child of this.#processes.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      const hard = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
      child.kill('SIGTERM');
      await ended;
      clearTimeout(hard);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
