// Drives the demo page and the browser client in a real Chromium.
//
//   node page.cjs --modules DIR --chromium PATH --demo URL --service URL --screenshots DIR
//
// demo is a running demo, service the test service at another origin. One line a check; exit status 0 or 1.
'use strict';
const path = require('path');
const assert = require('assert');

const args = {};
for (let i = 2; i < process.argv.length; i += 2) args[process.argv[i].replace(/^--/, '')] = process.argv[i + 1];
const { chromium } = require(path.join(args.modules, 'node_modules', 'playwright-core'));

const shown = { ws: 'WebSocket', poll: 'Long poll' };
const problems = [];

async function open(context, transport, name) {
  const page = await context.newPage();
  page.on('pageerror', (error) => problems.push(`${name}: ${error}`));
  await page.goto(`${args.demo}?transport=${transport}&name=${name}`);
  await state(page, 'connected');
  return page;
}

const state = (page, want) => page.locator(`#state[data-state="${want}"]`).waitFor();
const lines = (page) => page.locator('#lines li span').allTextContents();

async function say(page, text) {
  await page.fill('#text', text);
  await page.click('#send');
}

async function until(what, condition, seconds = 15) {
  const end = Date.now() + 1000 * seconds;
  let last;
  do {
    last = await condition();
    if (last === true) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  } while (Date.now() < end);
  throw new Error(`${what}: ${JSON.stringify(last)}`);
}

const checks = {
  async page_shows_its_state(context, transport) {
    const ada = await open(context, transport, 'Ada');
    assert.equal(await ada.textContent('#transport'), shown[transport]);
    await until('round trip', async () => /^[\d.]+ ms$/.test(await ada.textContent('#rtt')));
    const before = await ada.textContent('#tick');
    await until('ticker', async () => (await ada.textContent('#tick')) !== before);
  },

  async chat_reaches_everybody_once(context, transport) {
    const ada = await open(context, transport, 'Ada');
    const bob = await open(context, transport === 'ws' ? 'poll' : 'ws', 'Bob');
    // Whose page of an earlier check was closed before it could say goodbye is counted for a session's time, 60 s.
    await until('people', async () => (await ada.textContent('#people')) === '2', 75);
    const mark = `${transport} <b>&</b> é日 ${Date.now()}`;
    for (let n = 0; n < 5; n++) await say(n % 2 ? ada : bob, `${mark} ${n}`);
    for (const page of [ada, bob]) {
      await until('five lines', async () => {
        const got = (await lines(page)).filter((l) => l.startsWith(mark));
        return got.length >= 5 || got;
      });
      const got = (await lines(page)).filter((l) => l.startsWith(mark)).sort();
      assert.deepEqual(got, [0, 1, 2, 3, 4].map((n) => `${mark} ${n}`));
    }
    await ada.screenshot({ path: path.join(args.screenshots, `${transport}.png`) });
    await ada.setViewportSize({ width: 360, height: 780 });
    await ada.screenshot({ path: path.join(args.screenshots, `${transport}-narrow.png`) });
  },

  async lost_exchanges_lose_nothing(context, transport) {
    if (transport === 'ws') return 'skipped: a websocket session ends with its socket';
    const ada = await open(context, 'poll', 'Ada');
    const bob = await open(context, 'ws', 'Bob');
    let failures = 0;
    const session = /\/rpc\/[A-Za-z0-9]{22}\//;
    await ada.route(session, async (route) => {
      // Half of them are cut before the server has them, half after it has answered.
      if (failures++ % 2) await route.fetch().catch(() => {});
      await route.abort().catch(() => {});
    });
    const mark = `lost ${Date.now()}`;
    for (let n = 0; n < 10; n++) {
      const text = `${mark} ${n}`;
      await say(bob, text);
      await until('Bob sees it', async () => (await lines(bob)).includes(text));
    }
    await say(ada, `${mark} from Ada`);
    await state(ada, 'retrying');
    await until('failures', async () => failures >= 4 || failures);
    await ada.unroute(session);
    await state(ada, 'connected');
    await until('eleven lines', async () => (await lines(ada)).filter((l) => l.startsWith(mark)).length >= 11);
    const got = (await lines(ada)).filter((l) => l.startsWith(mark));
    assert.deepEqual(got.filter((l) => !l.endsWith('Ada')), [...Array(10).keys()].map((n) => `${mark} ${n}`));
    assert.equal(got.filter((l) => l.endsWith('Ada')).length, 1);
  },

  async lines_said_while_joining_are_shown_once(context, transport) {
    if (transport === 'ws') return 'skipped: the order is made by hand, in the answer to a poll';
    const page = await context.newPage();
    const line = (n) => ({ n, from: 'Bob', text: `line ${n}`, at: new Date().toISOString() });
    let joined;
    const join = new Promise((resolve) => { joined = resolve; });
    let polls = 0;
    await page.route(/\/rpc\//, async (route) => {
      const body = JSON.parse(route.request().postData());
      if (body.transports) {
        await route.fulfill({ json: { transport: 'poll', url: `${args.demo}rpc/${'x'.repeat(22)}/` } });
      } else if (body[0][0] !== 0) {
        if (body[0][2] === 'join') joined();
        await route.fulfill({ json: null });
      } else if (polls++ === 0) {
        await join;
        await route.fulfill({
          json: [[1, 0, 'said', line(2)], [3, 1, 0, [line(1)]], [1, 2, 'said', line(1)], [1, 3, 'said', line(3)], [0, 0]],
        });
      } // and no more answers
    });
    await page.goto(`${args.demo}?transport=poll&name=Ada`);
    await until('third line', async () => (await lines(page)).includes('line 3') || await lines(page));
    assert.deepEqual(await lines(page), ['line 1', 'line 2', 'line 3']);
  },

  async buttons_disconnect_and_reconnect(context, transport) {
    const ada = await open(context, transport, 'Ada');
    await ada.click('#disconnect');
    await state(ada, 'closed');
    assert.equal(await ada.textContent('#problem'), 'closed by this end');
    assert.equal(await ada.isDisabled('#send'), true);
    await ada.screenshot({ path: path.join(args.screenshots, `${transport}-closed.png`) });
    await ada.click('#connect');
    await state(ada, 'connected');
    const other = transport === 'ws' ? 'poll' : 'ws';
    await ada.check(`input[value=${other}]`);
    await until('other transport', async () => (await ada.textContent('#transport')) === shown[other]);
    await state(ada, 'connected');
  },

  // The rest runs the module itself, from the demo's origin against the service at another one.
  async client_calls_and_is_called(context, transport) {
    const page = await open(context, 'ws', 'Eve');
    const got = await page.evaluate(async ([url, transport]) => {
      const { Client, RPCError } = await import('/mushroom.js');
      const took = [];
      const client = new Client({
        url, transports: [transport], auth: 'secret',
        methods: {
          take: (data) => { took.push(data); },
          double: (data) => [data, data],
          zero: () => 0,
          refuse: (data) => { throw new RPCError(`refused: ${data}`); },
          broken: () => { throw new Error('not shown'); },
        },
      });
      await client.connect();
      const fails = (call) => call.then(() => 'no error', (e) => [e.name, e.data ?? null]);
      const out = {
        values: await Promise.all([null, 0, '', false, 'é日😀', [1, [2]], { a: null }].map((v) => client.request('echo', v))),
        nope: await fails(client.request('nope')),
        rpc: await fails(client.request('fail_rpc', { why: 1 })),
        timeout: await fails(client.request('slow', 1, { timeout: 50 })),
        pushed: await client.request('push', ['take', 'x', 100]),
        asked: [],
      };
      for (const name of ['double', 'zero', 'refuse', 'broken', 'absent', 'toString']) {
        out.asked.push(await client.request('ask', [name, 'q', 5]));
      }
      for (let n = 0; n < 50; n++) client.notify('note', n);
      out.notes = await client.request('notes');
      out.took = took;
      out.waiting = fails(client.request('slow', 30));
      await client.close();
      out.waiting = await out.waiting;
      out.after = await fails(client.request('ping'));
      out.state = client.state;
      return out;
    }, [args.service, transport]);
    assert.deepEqual(got, {
      values: [null, 0, '', false, 'é日😀', [1, [2]], { a: null }],
      nope: ['RequestError', 'rpc_nope'],
      rpc: ['RequestError', { why: 1 }],
      timeout: ['RequestTimeout', null],
      pushed: 100,
      asked: [['response', ['q', 'q']], ['response', 0], ['error', 'refused: q'],
        ['error', 'Internal client error'], ['error', 'absent'], ['error', 'toString']],
      notes: [...Array(50).keys()],
      took: [...Array(100).keys()].map((n) => [n, 'x']),
      waiting: ['SessionEnded', null],
      after: ['SessionEnded', null],
      state: 'closed',
    });
  },

  async closed_while_connecting_stays_closed(context, transport) {
    const page = await open(context, 'ws', 'Eve');
    const got = await page.evaluate(async ([url, transport]) => {
      const { Client } = await import('/mushroom.js');
      const options = { url, auth: 'secret' };
      const observer = new Client({ ...options, transports: ['poll'] });
      await observer.connect();
      const before = await observer.request('sessions');
      let sockets = 0;
      window.WebSocket = class extends WebSocket {
        constructor(address) {
          super(address);
          sockets += 1;
        }
      };
      const client = new Client({ ...options, transports: [transport] });
      const outcome = client.connect().then(() => 'connected', (e) => e.message);
      await client.close();
      const out = [await outcome, client.state];
      for (let n = 0; transport === 'poll' && n < 200 && await observer.request('sessions') > before; n++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      out.push(transport === 'ws' ? sockets : Math.max(0, await observer.request('sessions') - before));
      await observer.close();
      return out;
    }, [args.service, transport]);
    assert.deepEqual(got, ['closed while connecting', 'closed', 0]);
  },

  async last_words_come_although_a_post_is_refused(context, transport) {
    if (transport === 'ws') return 'skipped: the exchanges are made by hand';
    const page = await open(context, 'ws', 'Eve');
    let refused;
    const refusal = new Promise((resolve) => { refused = resolve; });
    await page.route(/\/hand\//, async (route) => {
      const body = JSON.parse(route.request().postData());
      if (body.transports) {
        await route.fulfill({ json: { transport: 'poll', url: `${args.demo}hand/session/` } });
      } else if (body[0][0] !== 0) {
        await route.fulfill({ status: 404 });
        refused();
      } else {
        await refusal;
        // The client has long had the refusal when the poll is answered.
        await new Promise((resolve) => setTimeout(resolve, 300));
        await route.fulfill({ json: [[1, 0, 'bye', 'last'], [-1]] });
      }
    });
    const got = await page.evaluate(async (url) => {
      const { Client } = await import('/mushroom.js');
      const took = [];
      const client = new Client({ url, transports: ['poll'], methods: { bye: (data) => { took.push(data); } } });
      const closed = new Promise((resolve) => client.addEventListener('closed', (e) => resolve(e.detail.message)));
      await client.connect();
      client.notify('late');
      return [await closed, took];
    }, `${args.demo}hand/`);
    assert.deepEqual(got, ['disconnected by the server', ['last']]);
  },

  async client_hears_of_the_end(context, transport) {
    const page = await open(context, 'ws', 'Eve');
    const got = await page.evaluate(async ([url, transport]) => {
      const { Client } = await import('/mushroom.js');
      const options = { url, transports: [transport], auth: 'secret' };
      const refused = await new Client({ ...options, auth: 'wrong' }).connect().catch((e) => e.status);
      const none = await new Client({ ...options, transports: ['carrier pigeon'] }).connect().catch((e) => e.status);
      const client = new Client(options);
      await client.connect();
      const closed = new Promise((resolve) => client.addEventListener('closed', (e) => resolve(e.detail.name)));
      client.request('drop_me').catch(() => {});
      return [refused, none, await closed];
    }, [args.service, transport]);
    assert.deepEqual(got, [401, 501, 'SessionEnded']);
  },
};

(async () => {
  const browser = await chromium.launch({
    executablePath: args.chromium, args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
  let failed = 0;
  for (const transport of ['ws', 'poll']) {
    for (const [name, check] of Object.entries(checks)) {
      const context = await browser.newContext({ viewport: { width: 900, height: 760 } });
      context.setDefaultTimeout(20000);
      problems.length = 0;
      try {
        const note = await check(context, transport);
        assert.deepEqual(problems, []);
        console.log(`ok ${transport}/${name}${note ? ` ${note}` : ''}`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL ${transport}/${name}: ${error.stack}`);
      }
      await context.close();
    }
  }
  await browser.close();
  process.exit(failed ? 1 : 0);
})();
