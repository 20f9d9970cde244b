// The lines of the benchmark, as the guest prints them.

/** Tests of `guest/guestbench.c`. */
export const TESTS: readonly string[] = [
  ...["int_sha256", "int_sieve", "int_fib", "int_qsort", "int_muldiv"],
  ...["mem_copy", "mem_chase", "mem_fault", "fp_matmul", "fp_x87"],
  ...["os_syscall", "os_forkexec", "os_pipe", "smc_jit"],
];

/** Programs of Debian's that the guest runs: see `guest/init`. */
export const APPS: readonly string[] = ["app_lua", "app_xz", "app_tcc"];

/** Every line. */
export const LINES: readonly string[] = [...TESTS, ...APPS];

/** Printed when the guest's init runs. */
export const GUEST_UP = "GUEST-UP";

/** Printed before the guest powers off. */
export const GUEST_DOWN = "GUEST-DOWN";

/** What the guest is told of the lines that it is to run. */
export function wordOf(lines: readonly string[]): string {
  return `lines=${lines.length === LINES.length ? "all" : lines.join(",")}`;
}
