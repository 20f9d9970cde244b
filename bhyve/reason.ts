// Why the host refused something, as one would read it after a colon.

/** The system's words for an error, without its number and the call's name. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message.replace(/ \(os error \d+\)[^]*$/, "");
}
