// The host's programs that guests are made with: apt, dpkg, gcc, mkfs.

/** Something that a guest needs could not be had. */
export class GuestError extends Error {
  /** the class, for messages */
  override readonly name = "GuestError";
}

/** The host's administration programs are not on everybody's PATH. */
function environment(): Record<string, string> {
  const path = Deno.env.get("PATH") ?? "/usr/bin:/bin";
  return { LC_ALL: "C", PATH: `${path}:/usr/sbin:/sbin` };
}

function command(
  program: string,
  args: readonly string[],
  cwd: string,
): Promise<Deno.CommandOutput> {
  const process = new Deno.Command(program, {
    args: [...args],
    cwd,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: environment(),
  });
  return process.output().catch((error) => {
    throw new GuestError(`Cannot run ${program}, which guests need: ${error}`);
  });
}

/**
 * What a program prints.
 *
 * @throws {GuestError} where it is missing or fails
 */
export async function run(
  program: string,
  args: readonly string[],
  cwd = ".",
): Promise<string> {
  const { success, stdout, stderr } = await command(program, args, cwd);
  if (success) return new TextDecoder().decode(stdout);
  const text = new TextDecoder().decode(stderr).trim();
  throw new GuestError(`Cannot run ${program} ${args.join(" ")}: ${text}`);
}

/** Whether a program ends well. @throws {GuestError} where it is missing */
export async function succeeds(
  program: string,
  args: readonly string[],
  cwd = ".",
): Promise<boolean> {
  return (await command(program, args, cwd)).success;
}
