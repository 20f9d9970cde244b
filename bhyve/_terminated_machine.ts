// A program that ends a machine whose vCPUs sleep: nothing is left then that keeps the
// program from ending.

import { buildMachine, CODE } from "./_threads_testing.ts";

const HALT_FOREVER = "f4 ebfd";
const { threads } = await buildMachine({
  bsp: `${CODE.START_AP} fb ${HALT_FOREVER}`,
  ap: HALT_FOREVER,
});
threads.run();
await new Promise((done) => setTimeout(done, 300));
threads.terminate();
