// What `bhyvectl --help` says beyond the usage: the order of actions, the options that
// bhyvectl(8) documents, numbers, exit statuses.

/** Lines below the usage. */
export const HELP: readonly string[] = [
  "",
  "Shows and changes the virtual machine <vmname>, whether it runs or not.",
  "",
  "Whatever the order of the options, memory comes first; then registers and",
  "devices are set, then printed; then capabilities, CPU sets, statistics; then",
  "the machine runs, is suspended, and at last destroyed. The first failure ends",
  "the command. Numbers are decimal, hexadecimal (0x) or octal (0).",
  "",
  "  --create          make the machine",
  "  --destroy         remove the machine, where nothing failed before",
  "  --get-all         print everything",
  "  --get-stats       print the counters of the virtual CPU --cpu",
  "  --inject-nmi      send it a non-maskable interrupt",
  "  --force-reset     reset the running machine",
  "  --force-poweroff  power the running machine off",
  "",
  "Exit status: 0, or 1 for a wrong command line and where the machine cannot be",
  "opened, or 255 where an action failed; then `errno = N' is printed.",
];
