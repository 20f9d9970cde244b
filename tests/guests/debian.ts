// Files from Debian packages, for guests: downloaded by apt, unpacked by dpkg-deb
// into the cache, never installed. Where the host's own lists do not know a package
// (another architecture, no lists yet, old ones), lists of our own are fetched.

import { cached, cacheDir, lockOf } from "./cache.ts";
import { GuestError, run, succeeds } from "./run.ts";

export { GuestError } from "./run.ts";

/** Is told what is being done, for a person who waits. */
export type Progress = (message: string) => void;

/** A package as apt names it. */
interface PackageName {
  readonly name: string;
  readonly architecture: string;
}

/** Options of apt that choose its lists. */
type Lists = readonly string[];

const HOST_LISTS: Lists = [];
const SANDBOX: Lists = ["-o", "APT::Sandbox::User=root"];

async function parseName(text: string): Promise<PackageName> {
  const [name, architecture] = text.split(":") as [string, string?];
  if (architecture !== undefined) return { name, architecture };
  const host = await run("dpkg", ["--print-architecture"]);
  return { name, architecture: host.trim() };
}

function ownLists(architecture: string): Lists {
  const dir = `${cacheDir()}/apt-${architecture}`;
  Deno.mkdirSync(`${dir}/lists`, { recursive: true });
  return [
    ...[`Dir::State=${dir}`, "Dir::State::status=/dev/null"],
    ...[`Dir::Cache=${dir}/cache`, `APT::Architecture=${architecture}`],
    ...[`APT::Architectures=${architecture}`],
  ].flatMap((option) => ["-o", option]);
}

function isKnown({ name, architecture }: PackageName, lists: Lists) {
  const full = `${name}:${architecture}`;
  return succeeds("apt-cache", [
    ...lists,
    ...["show", "--no-all-versions", full],
  ]);
}

// A list that is broken or that cannot be had is not ours to mend: what counts is
// whether the package can be had afterwards.
async function updateLists(architecture: string): Promise<void> {
  using _lock = await lockOf(`apt-${architecture}`);
  const lists = ownLists(architecture);
  await succeeds("apt-get", [...lists, ...SANDBOX, "update", "-qq"]);
}

/** The package that a package like `linux-image-amd64` stands for. */
async function resolveImage(
  { name, architecture }: PackageName,
  lists: Lists,
): Promise<string> {
  if (!/^linux-image-(cloud-)?[a-z0-9]+(-pae)?$/.test(name)) return name;
  const text = await run("apt-cache", [
    ...lists,
    ...["show", "--no-all-versions", `${name}:${architecture}`],
  ]);
  const image = /^Depends:.*?(linux-image-\d[^ ,]*)/m.exec(text)?.[1];
  if (image === undefined) {
    throw new GuestError(`Package ${name} names no kernel that it depends on`);
  }
  return image;
}

async function download(
  wanted: PackageName,
  lists: Lists,
  dir: string,
  progress: Progress,
): Promise<string> {
  const image = await resolveImage(wanted, lists);
  progress(`downloading ${image}`);
  const full = `${image}:${wanted.architecture}`;
  await run("apt-get", [...lists, ...SANDBOX, "download", "-qq", full], dir);
  const deb = [...Deno.readDirSync(dir)].find((e) => e.name.endsWith(".deb"));
  if (deb === undefined) throw new GuestError(`apt-get brought no ${image}`);
  return deb.name;
}

// The host's lists first, since they cost nothing; lists may name a version that is
// gone by now, so a failure leads to the next ones.
async function downloadSomehow(
  wanted: PackageName,
  dir: string,
  progress: Progress,
): Promise<string> {
  const { architecture } = wanted;
  for (const lists of [HOST_LISTS, ownLists(architecture)]) {
    if (!await isKnown(wanted, lists)) continue;
    try {
      return await download(wanted, lists, dir, progress);
    } catch (error) {
      if (!(error instanceof GuestError)) throw error;
    }
  }
  progress(`fetching the list of Debian's ${architecture} packages`);
  await updateLists(architecture);
  return await download(wanted, ownLists(architecture), dir, progress);
}

/**
 * The directory that a Debian package is unpacked in.
 *
 * @param name a package, with `:ARCHITECTURE` where it is not the host's; for
 *   `linux-image-cloud-amd64` and its like the kernel that they depend on
 * @throws {GuestError} where it cannot be downloaded or unpacked
 */
export async function debianPackage(
  name: string,
  progress: Progress = () => {},
): Promise<string> {
  const wanted = await parseName(name);
  const key = `deb-${wanted.name}_${wanted.architecture}`;
  return await cached(key, async (path) => {
    await Deno.mkdir(path);
    const deb = await downloadSomehow(wanted, path, progress);
    progress(`unpacking ${deb}`);
    await run("dpkg-deb", ["-x", deb, "."], path);
    await Deno.remove(`${path}/${deb}`);
  });
}
