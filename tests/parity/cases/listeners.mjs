// How the sockets of a listener take connections: dealt to workers, one socket for all of them, and what is refused.
import { suite, req } from '../lib/suite.mjs';

const exact = { connection_balance_config: { exact_balance: {} } };
/** Eight connections at once, each with two requests. */
const many = async ctx => {
  const all = await Promise.all(Array.from({ length: 8 }, () => ctx.connect('main', { hidden: true })));
  const answers = [];
  for (const c of all) { c.write(req('/')); answers.push((await c.response()).slice(0, 15)); }
  for (const c of all) { c.write(req('/')); answers.push((await c.response()).slice(0, 15)); }
  return answers;
};
const hidden = { hideUpstreams: true };

export default [suite('listeners', [
  { name: 'exact_balance: connections are served', listener: exact, client: many, ...hidden },
  { name: 'exact_balance: one connection, two requests', listener: exact, send: [req('/'), { res: 1 }, req('/')] },
  { name: 'exact_balance: hostile, nonsense closes', listener: exact, send: ['\0\0\0\r\n\r\n'] },
  { name: 'exact_balance: hostile, a client that leaves at once', listener: exact, client: async ctx => { const c = await ctx.connect('main', { hidden: true }); c.socket.destroy(); return many(ctx); }, ...hidden },
  { name: 'enable_reuse_port: one socket for all workers', listener: { enable_reuse_port: false }, client: many, ...hidden },
  { name: 'enable_reuse_port: off, with exact_balance', listener: { enable_reuse_port: false, ...exact }, client: many, ...hidden },
  { name: 'enable_reuse_port: hostile, nonsense on the one socket', listener: { enable_reuse_port: false }, send: ['GET / HTTP/9.9\r\n\r\n'] },
])];
