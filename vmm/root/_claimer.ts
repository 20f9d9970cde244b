// A process that runs a machine, for tests: claims one, says so, and ends when it is
// suspended or killed.

import { VmmRoot } from "./root.ts";
import type { RequestHandler } from "./server.ts";

const [path, name, mode] = Deno.args as [string, string, string];
const isMonitor = mode === "monitor";
const node = await new VmmRoot(path).claim(name, {
  monitor: isMonitor,
  create: isMonitor,
});
const { machine } = node;
const handler: RequestHandler = {
  ioctl(request, payload) {
    if (request === "VM_SUSPEND") {
      setTimeout(() => void node.release().then(() => Deno.exit(0)), 0);
    }
    return machine.ioctl(request, payload);
  },
  read: () => new Uint8Array(),
  write: () => {},
};
node.serve(handler);
console.log("claimed");
