// The quickstart's options.
import { parseArgs } from 'node:util';

const HELP = `plenipo quickstart: finds a service in a Kubernetes API, builds a cluster from it, and pushes it into a running proxy.

  npm start                                    everything on this machine: small upstreams and a stand-in for the Kubernetes API
  npm start -- --once                          the same, and exit with status 0 after the proof
  npm start -- --kubeconfig FILE --service NAME   a real cluster; nothing in it is changed

Options
  --once               stop after the proof instead of staying up
  --listen PORT        the proxy's port on 127.0.0.1 (default: any free one)
  --admin PORT         the admin page's port on 127.0.0.1 (default: any free one)
  --kubeconfig FILE    use this cluster's API
  --service NAME       the Service to find (needed with --kubeconfig)
  --namespace NAME     its namespace (default: default)
  --port PORT          its port, by name or number (default: its only one)
  --help               show this`;

/** A port number, or undefined when the text is none. */
function port(text) {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65535 ? Number(text) : undefined;
}

/** Reads the command line. After --help or a mistake it says so, sets the exit status, and returns undefined. */
export function parse(args) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        once: { type: 'boolean', default: false },
        listen: { type: 'string', default: '0' },
        admin: { type: 'string', default: '0' },
        kubeconfig: { type: 'string' },
        service: { type: 'string' },
        namespace: { type: 'string', default: 'default' },
        port: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(HELP);
      return undefined;
    }
    if (Boolean(values.kubeconfig) !== Boolean(values.service)) throw new Error('--kubeconfig and --service go together');
    for (const name of ['listen', 'admin']) {
      if (port(values[name]) === undefined) throw new Error(`--${name}: '${values[name]}' is not a port`);
    }
    const servicePort = values.port === undefined ? undefined : (port(values.port) ?? values.port);
    return { ...values, listen: port(values.listen), admin: port(values.admin), port: servicePort };
  } catch (error) {
    console.error(`${error.message}\n\n${HELP}`);
    process.exitCode = 2;
    return undefined;
  }
}
