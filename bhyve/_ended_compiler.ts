// A program that has the thread that compiles wait for work, and ends it: nothing is left
// then that keeps the program from ending.

import { createStateMemory } from "../vmm/cpu/state.ts";
import { Asker } from "../vmm/cpu/regions/mail.ts";
import { CompilerThread } from "./compiler_thread.ts";

const thread = new CompilerThread([createStateMemory()], false);
await thread.runtime;
const asker = new Asker(thread.starts[0]!.mail!);
while (!asker.isHeard) await new Promise((done) => setTimeout(done, 5));
await new Promise((done) => setTimeout(done, 50));
thread.end();
