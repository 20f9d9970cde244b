// The options of bhyveload, a row each: what reads them and the help derive from it.

interface OptionRow {
  /** a letter, or a word for a long option */
  readonly option: string;
  /** its argument's name; none for a flag */
  readonly argument?: string;
  readonly help: string;
}

const OPTIONS: readonly OptionRow[] = [
  {
    option: "c",
    argument: "console-device",
    help: "the loader's terminal, or stdio (the default)",
  },
  { option: "C", help: "include guest memory in core files" },
  {
    option: "d",
    argument: "disk-path",
    help: "load FreeBSD from a disk image: UFS or ISO 9660",
  },
  {
    option: "e",
    argument: "name=value",
    help: "set a variable of FreeBSD's loader and kernel",
  },
  {
    option: "h",
    argument: "host-path",
    help: "load FreeBSD from a directory of this host",
  },
  {
    option: "l",
    argument: "os-loader",
    help: "another loader: refused, as none can run here",
  },
  {
    option: "m",
    argument: "memsize",
    help: "the machine's memory, with K, M, G or T (256M)",
  },
  { option: "S", help: "wire guest memory" },
  {
    option: "kernel",
    argument: "file",
    help: "load a Linux, Multiboot, PVH or FreeBSD kernel",
  },
  {
    option: "initrd",
    argument: "file",
    help: "the kernel's RAM disk or module",
  },
  { option: "append", argument: "line", help: "the kernel's command line" },
  { option: "help", help: "show this help" },
];

const SHORT = OPTIONS.filter(({ option }) => option.length === 1);
const LONG = OPTIONS.filter(({ option }) => option.length > 1);
/** The options of one letter, as getopt(3) wants them. */
export const SHORT_SPEC = SHORT.map(({ option, argument }) =>
  argument === undefined ? option : `${option}:`
).join("");
/** The long options, and whether they take an argument. */
export const LONG_SPEC = new Map(
  LONG.map(({ option, argument }) => [option, argument !== undefined]),
);

/** The usage, by lines. */
export const LOAD_USAGE: readonly string[] = [
  "usage: bhyveload [-S][-c <console-device>] [-d <disk-path>] [-e <name=value>]",
  "                 [-h <host-path>] [-l <os-loader>] [-m memsize[K|k|M|m|G|g|T|t]]",
  "                 [-C] <vmname>",
  "       bhyveload [-CS] [-c <console-device>] [-m memsize] --kernel <file>",
  "                 [--initrd <file>] [--append <line>] <vmname>",
];

const HELP_COLUMN = 22;

function helpLine({ option, argument, help }: OptionRow): string {
  const dashes = option.length === 1 ? "-" : "--";
  const name = `${dashes}${option}${argument ? ` <${argument}>` : ""}`;
  return `  ${name.padEnd(HELP_COLUMN)} ${help}`;
}

/** The help, by lines. */
export function helpLines(): string[] {
  return [
    ...LOAD_USAGE,
    "",
    "Puts a system into a machine's memory, which bhyve then runs. A machine that",
    "is there is reset, one that is not is created.",
    "",
    ...OPTIONS.map(helpLine),
    "",
    "Exit status: 0 loaded, 1 not loaded, 64 a command line or file that is no good.",
    "",
    "  bhyveload -m 1G -d freebsd.img vm0",
    "  bhyveload -m 512M --kernel vmlinuz --append console=ttyS0 vm0",
  ];
}
