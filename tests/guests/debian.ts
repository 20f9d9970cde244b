// Files from Debian packages, for guests: downloaded by apt, unpacked by dpkg-deb
// into the cache, never installed.

import { cacheDir } from "./cache.ts";

/** Something that a guest needs could not be had. */
export class GuestError extends Error {
  /** the class, for messages */
  override readonly name = "GuestError";
}

/** Is told what is being done, for a person who waits. */
export type Progress = (message: string) => void;

async function run(
  command: string,
  args: readonly string[],
  cwd: string,
): Promise<string> {
  const process = new Deno.Command(command, {
    args: [...args],
    cwd,
    stdout: "piped",
    stderr: "piped",
    env: { LC_ALL: "C" },
  });
  const { success, stdout, stderr } = await process.output();
  if (success) return new TextDecoder().decode(stdout);
  throw new GuestError(
    `Cannot run ${command} ${args.join(" ")}: ${
      new TextDecoder().decode(stderr).trim()
    }`,
  );
}

async function isKnown(name: string): Promise<boolean> {
  const { success } = await new Deno.Command("apt-cache", {
    args: ["show", "--no-all-versions", name],
    stdout: "null",
    stderr: "null",
  }).output();
  return success;
}

/** The package that a package like `linux-image-amd64` stands for. */
async function resolveImage(name: string): Promise<string> {
  if (!/^linux-image-(cloud-)?[a-z0-9]+$/.test(name)) return name;
  const text = await run("apt-cache", ["show", "--no-all-versions", name], ".");
  const version = /^Depends:.*?(linux-image-\d[^ ,]*)/m.exec(text)?.[1];
  if (version === undefined) {
    throw new GuestError(`Package ${name} names no kernel that it depends on`);
  }
  return version;
}

/**
 * The directory that a Debian package is unpacked in.
 *
 * @param name a package; for `linux-image-cloud-amd64` and its like the kernel
 *   that they depend on
 * @throws {GuestError} where it cannot be downloaded or unpacked
 */
export async function debianPackage(
  name: string,
  progress: Progress = () => {},
): Promise<string> {
  const dir = `${cacheDir()}/${name.replaceAll(":", "_")}`;
  try {
    Deno.statSync(`${dir}/.complete`);
    return dir;
  } catch {
    // Not there yet.
  }
  if (!await isKnown(name)) {
    progress("updating the list of Debian packages");
    await run("apt-get", ["update", "-qq"], ".");
  }
  const image = await resolveImage(name);
  progress(`downloading ${image}`);
  const work = `${dir}.${Deno.pid}`;
  await Deno.mkdir(work, { recursive: true });
  try {
    await run(
      "apt-get",
      ["download", "-qq", "-o", "APT::Sandbox::User=root", image],
      work,
    );
    const deb = [...Deno.readDirSync(work)].find((e) =>
      e.name.endsWith(".deb")
    );
    if (deb === undefined) throw new GuestError(`apt-get brought no ${image}`);
    progress(`unpacking ${deb.name}`);
    await run("dpkg-deb", ["-x", deb.name, "."], work);
    await Deno.remove(`${work}/${deb.name}`);
    await Deno.writeTextFile(`${work}/.complete`, `${deb.name}\n`);
    await Deno.rename(work, dir).catch(() =>
      Deno.remove(work, { recursive: true })
    );
    return dir;
  } catch (error) {
    await Deno.remove(work, { recursive: true }).catch(() => {});
    throw error;
  }
}
