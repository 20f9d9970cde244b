// The first command of the README: a guest's shell from nothing, and nothing is left.

import { assertEquals, assertStringIncludes } from "@std/assert";
import { GUEST_UP, linuxGuest } from "../guests/linux.ts";
import { REPOSITORY } from "./harness/commands.ts";
import { Session } from "./harness/session.ts";

const LIMIT_MS = 600_000;
const PASSED_ON = ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME"];

function environment(temporary: string): Record<string, string> {
  const kept = PASSED_ON.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(kept), TMPDIR: temporary, NO_COLOR: "1" };
}

Deno.test("The demo boots to a shell and powers off", async () => {
  // Fetched here, so that the time limit does not count the network.
  await linuxGuest();
  const temporary = await Deno.makeTempDir({ prefix: "bhyve-" });
  try {
    await using demo = new Session({
      argv: [Deno.execPath(), "task", "--quiet", "demo", "quiet"],
      cwd: REPOSITORY,
      env: environment(temporary),
      limit: LIMIT_MS,
    });
    await demo.expect(GUEST_UP);
    await demo.prompt();
    assertStringIncludes(await demo.command("uname -sm"), "Linux x86_64");
    const devices = await demo.command("cat /sys/bus/pci/devices/*/vendor");
    assertStringIncludes(devices, "0x1af4", "a virtio device");
    await demo.type("poweroff -f");
    await demo.endsWith(1);
    assertEquals([...Deno.readDirSync(temporary)], []);
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
});
