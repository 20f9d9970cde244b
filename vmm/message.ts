// Words for people: what the host says of a failure, and texts that others chose, on a
// terminal. And writing them whole.

/** The system's words for an error, without its number and the call's name. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/ \(os error \d+\)[^]*$/, "");
}

/**
 * Text for a terminal: whatever could steer it (control and format characters, but for
 * TAB) is spelled out, since names and messages can come from someone else.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    if (character === "\t") return character;
    const code = character.codePointAt(0)!.toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u{${code}}`;
  });
}
