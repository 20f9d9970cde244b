// bhyve(8) but for the process around it: a command line comes in, an exit status comes
// out. In the order of bhyve's own start (bhyve-options.md section 11), except that
// everything that can be refused without the machine is refused before it is touched.

import { MAX_VCPUS } from "../vmm/ioctl.ts";
import { ReadyMachine } from "./claim.ts";
import { type CommandHost, processHost } from "./host.ts";
import { kernelLoader } from "./kernel.ts";
import { loaderFiles, type LoaderKeys, loaderKeys } from "./loader_keys.ts";
import { filesOf, makePlan } from "./make_plan.ts";
import { OptionError, refuse, STATUS } from "./option_error.ts";
import { parseOptions, type RunCommand } from "./options.ts";
import { needsOf, requireNeeds } from "./permissions.ts";
import { type Pinning, pinnings, pinVcpus } from "./pinning.ts";
import { refuseUnbuilt } from "./refusals.ts";
import { requireDisks, type Resources, resourcesOf } from "./resources.ts";
import { SerialLines } from "./serial_lines.ts";
import { Session, type StartMachine } from "./session.ts";
import { requireVcpus } from "./topology.ts";
import { machineUuid } from "./uuid.ts";

/** A command line that was found good. */
interface CheckedCommand {
  readonly command: RunCommand;
  readonly name: string;
  readonly resources: Resources;
  readonly loader: LoaderKeys | undefined;
  readonly pinned: readonly Pinning[];
  readonly uuid: string;
}

type Warn = (message: string) => void;

// Everything that can be found out without the machine.
function check(
  command: RunCommand,
  host: CommandHost,
  warn: Warn,
): CheckedCommand {
  const { config, name, topology } = command;
  refuseUnbuilt(command);
  if (name === undefined) throw refuse(STATUS.ERROR, "no machine is named");
  requireVcpus(topology.cpus, MAX_VCPUS);
  const resources = resourcesOf(config, warn);
  const loader = loaderKeys(config);
  const pinned = pinnings(config, topology.cpus);
  const given = config.get("uuid");
  const files = loaderFiles(loader);
  requireNeeds(needsOf(resources, { files, hostname: given === undefined }));
  requireDisks(resources);
  const uuid = machineUuid(given, name, () => host.hostname());
  return { command, name, resources, loader, pinned, uuid };
}

// Once the threads are there, and pinned, everything is open.
function confined(
  { command, pinned }: CheckedCommand,
  host: CommandHost,
  warn: Warn,
) {
  return (start: StartMachine): StartMachine => async (...from) => {
    const machine = await start(...from);
    await pinVcpus(pinned, command.topology.cpus, warn);
    host.enterSandbox(pinned.length > 0);
    return machine;
  };
}

async function claim(
  { command, name, loader }: CheckedCommand,
  host: CommandHost,
): Promise<ReadyMachine> {
  const { config, memory, topology } = command;
  return await ReadyMachine.claim(host.root, {
    name,
    monitor: config.getBool("monitor", false),
    topology,
    memory,
    wired: config.getBool("memory.wired", false),
    ...loader === undefined ? {} : { load: kernelLoader(loader) },
  });
}

async function runMachine(
  checked: CheckedCommand,
  host: CommandHost,
  warn: Warn,
): Promise<number> {
  const { command: { topology }, resources } = checked;
  // What runs guest code reads files of its own; a refusal should come before that.
  const { prepareThreads } = await import("./start_threads.ts");
  // They load their modules while the machine is claimed.
  const threads = prepareThreads(topology.cpus, filesOf(resources));
  try {
    const start = confined(checked, host, warn)(threads.start);
    return await runIn(start, checked, host);
  } finally {
    threads.end();
  }
}

async function runIn(
  start: StartMachine,
  checked: CheckedCommand,
  host: CommandHost,
): Promise<number> {
  const { command: { config }, name, resources, uuid } = checked;
  const ready = await claim(checked, host);
  // Its threads still load: the time costs nothing.
  host.lowerCompilers();
  let session: Session | undefined;
  try {
    const lines = new SerialLines(resources, {
      streams: host.streams,
      actions: {
        end: () => session?.unplug(),
        say: (line) => host.err(`bhyve: ${line}`),
      },
    });
    session = new Session({
      host,
      ready,
      lines,
      start,
      plan: () =>
        makePlan({
          name,
          config,
          uuid,
          resources,
          chars: lines.buffers,
          state: ready.state,
        }),
      monitor: config.getBool("monitor", false),
      destroyOnPowerOff: config.getBool("destroy_on_poweroff", false),
    });
    return await session.run();
  } finally {
    const isOver = session?.hasStarted === true;
    await (isOver ? ready.claimed.release() : ready.abandon());
  }
}

function statusOf(error: unknown, host: CommandHost): number {
  if (!(error instanceof Error)) throw error;
  const isWhole = error instanceof OptionError;
  host.err(isWhole ? error.message : `bhyve: ${error.message}`);
  return "status" in error ? Number(error.status) : STATUS.ERROR;
}

/**
 * Does what a command line says.
 *
 * @param args the command line, without the program's name
 * @param host the process around it: this one by default
 * @returns the exit status
 */
export async function run(
  args: readonly string[],
  host: CommandHost = processHost(),
): Promise<number> {
  const command = parseOptions(args, host);
  if (command.kind === "exit") {
    command.out.forEach((line) => host.out(line));
    command.err.forEach((line) => host.err(line));
    return command.status;
  }
  const warn = (message: string) => host.err(`bhyve: warning: ${message}`);
  command.warnings.forEach(warn);
  try {
    return await runMachine(check(command, host, warn), host, warn);
  } catch (error) {
    return statusOf(error, host);
  }
}
