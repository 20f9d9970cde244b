// What refuses a command line: a message and bhyve's exit status for it.

/** Exit statuses at start: bhyve(8), and sysexits(3)'s EX_USAGE and EX_OSERR. */
export const STATUS = { USAGE_TEXT: 1, ERROR: 4, USAGE: 64, OS: 71 } as const;

/** An option that cannot be used. */
export class OptionError extends Error {
  override readonly name = "OptionError";

  /**
   * @param status exit status
   * @param message what goes to standard error, as it stands
   */
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/** A refusal as errx(3) words it, with the program's name. */
export function refuse(status: number, message: string): OptionError {
  return new OptionError(status, `bhyve: ${message}`);
}
