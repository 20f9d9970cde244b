// How a machine's session ends: every reason and signal, with its status, and what
// becomes of the machine.

import { assertEquals, assertRejects } from "@std/assert";
import type { GuestMemory } from "../vmm/cpu/guest_memory.ts";
import { SUSPEND } from "../vmm/cpu/exits.ts";
import { emptyState } from "../vmm/root/node.ts";
import type { HandledSignal } from "./host.ts";
import type { MachinePlan } from "./plan.ts";
import {
  type MachineEnd,
  MachineFailure,
  type RunningMachine,
  Session,
  type SessionParts,
} from "./session.ts";

/** A machine whose end is the test's, and a record of all that is done to it. */
class Stage {
  readonly log: string[] = [];
  readonly handlers = new Map<HandledSignal, () => void>();
  readonly #ends: PromiseWithResolvers<MachineEnd>[] = [];
  hasAcpi = false;
  /** why it was suspended before */
  suspend: number = SUSPEND.NONE;
  onStart: () => void = () => {};

  #machine(): RunningMachine {
    const end = Promise.withResolvers<MachineEnd>();
    this.#ends.push(end);
    return {
      ended: end.promise,
      handler: {} as RunningMachine["handler"],
      run: () => {
        this.log.push("run");
      },
      wake: () => {},
      pressPowerButton: () => {
        this.log.push("button");
        return this.hasAcpi;
      },
      terminate: () => {
        this.log.push("terminate");
      },
    };
  }

  end(how: number): void {
    this.#ends.at(-1)!.resolve({ how, changes: {} });
  }

  fail(message: string): void {
    this.#ends.at(-1)!.reject(new MachineFailure(message, 134));
  }

  session(options: Partial<SessionParts> = {}): Session {
    const log = (word: string) => () => {
      this.log.push(word);
    };
    const done = (word: string) => () => {
      this.log.push(word);
      return Promise.resolve();
    };
    const claimed = {
      serve: log("serve"),
      release: done("release"),
      destroy: done("destroy"),
    } as unknown as SessionParts["ready"]["claimed"];
    return new Session({
      host: {
        err: (line) => this.log.push(line),
        onSignal: (signal, handle) => {
          this.handlers.set(signal, handle);
          return () => this.handlers.delete(signal);
        },
      },
      ready: {
        claimed,
        memory: {} as GuestMemory,
        state: { ...emptyState(), suspend: this.suspend },
        restart: log("restart"),
      },
      lines: {
        serve() {},
        onInput() {},
        finish: async (hurry) => {
          const later = new Promise((resolve) => setTimeout(resolve, 5, ""));
          const isHurried = await Promise.race([hurry, later]) !== "";
          this.log.push(isHurried ? "hurry" : "finish");
        },
      },
      start: () => {
        setTimeout(() => this.onStart());
        return Promise.resolve(this.#machine());
      },
      plan: () => ({}) as MachinePlan,
      monitor: false,
      destroyOnPowerOff: false,
      ...options,
    });
  }
}

const AFTER = ["release", "finish"];

Deno.test("Session ends with bhyve's statuses", async () => {
  const statuses = [
    [SUSPEND.RESET, 0],
    [SUSPEND.POWEROFF, 1],
    [SUSPEND.HALT, 2],
    [SUSPEND.TRIPLEFAULT, 3],
    [SUSPEND.DESTROY, 4],
  ] as const;
  for (const [how, status] of statuses) {
    const stage = new Stage();
    stage.onStart = () => stage.end(how);
    assertEquals(await stage.session().run(), status);
    assertEquals(stage.log, ["serve", "run", "terminate", ...AFTER]);
    assertEquals(stage.handlers.size, 0);
  }
});

Deno.test("Session destroys the machine on power-off where it is asked to", async () => {
  const ends = [[SUSPEND.POWEROFF, "destroy"], [SUSPEND.RESET, "release"]];
  for (const [how, what] of ends) {
    const stage = new Stage();
    stage.onStart = () => stage.end(how as number);
    await stage.session({ destroyOnPowerOff: true }).run();
    assertEquals(stage.log[3], what);
  }
});

Deno.test("Session in monitor mode goes on after a reset", async () => {
  const stage = new Stage();
  let runs = 0;
  stage.onStart = () =>
    stage.end(++runs < 3 ? SUSPEND.RESET : SUSPEND.TRIPLEFAULT);
  assertEquals(await stage.session({ monitor: true }).run(), 3);
  const again = ["serve", "run", "terminate", "restart"];
  const last = ["serve", "run", "terminate", ...AFTER];
  assertEquals(stage.log, [...again, ...again, ...last]);
});

Deno.test("Session says why a machine cannot go on", async () => {
  const stage = new Stage();
  stage.onStart = () => stage.fail("Unhandled inb");
  assertEquals(await stage.session().run(), 134);
  assertEquals(stage.log[2], "bhyve: Unhandled inb");
  assertEquals(stage.log.slice(4), AFTER);
});

Deno.test("Session presses the power button at SIGTERM", async () => {
  const stage = new Stage();
  stage.hasAcpi = true;
  stage.onStart = () => {
    stage.handlers.get("SIGTERM")!();
    stage.handlers.get("SIGTERM")!();
    stage.end(SUSPEND.POWEROFF);
  };
  assertEquals(await stage.session().run(), 1);
  assertEquals(stage.log.slice(0, 4), ["serve", "run", "button", "button"]);
});

Deno.test("Session is over at a signal, and the machine rests", async () => {
  const statuses = [["SIGTERM", 143], ["SIGINT", 130], ["SIGHUP", 129], [
    ...["SIGQUIT", 131],
  ]];
  for (const [signal, status] of statuses) {
    const stage = new Stage();
    stage.onStart = () => stage.handlers.get(signal as HandledSignal)!();
    const session = stage.session({ destroyOnPowerOff: true, monitor: true });
    assertEquals(await session.run(), status);
    assertEquals(
      stage.log.filter((word) => word !== "button"),
      ["serve", "run", "terminate", "release", "hurry"],
    );
  }
});

Deno.test("Session unplugged is a machine powered off", async () => {
  const stage = new Stage();
  const session = stage.session({ destroyOnPowerOff: true });
  stage.onStart = () => session.unplug();
  assertEquals(await session.run(), 1);
  const words = ["serve", "run", "terminate", "destroy", "hurry"];
  assertEquals(stage.log, words);
});

Deno.test("Session that cannot start closes its lines and keeps the machine", async () => {
  const stage = new Stage();
  const session = stage.session({
    start: () => Promise.reject(new Error("no disk")),
  });
  await assertRejects(() => session.run(), Error, "no disk");
  assertEquals([session.hasStarted, stage.log], [false, ["hurry"]]);
  assertEquals(stage.handlers.size, 0);
});

Deno.test("Session does not run what was suspended at rest", async () => {
  const stage = new Stage();
  stage.suspend = SUSPEND.RESET;
  assertEquals(await stage.session({ monitor: true }).run(), 0);
  assertEquals(stage.log, AFTER);
});
