// `deno run -A vmm/cpu/iced/make_codes.ts` makes `codes.ts` anew, of iced-x86's
// enumeration: when forms are added or the package is another. A test tells when it is due.

import { Code } from "iced-x86";
import { ALL_FORMS } from "../forms/mod.ts";

const WIDTH = 88;
const PATH = new URL("./codes.ts", import.meta.url);

function codeOf(name: string): number {
  const code = (Code as unknown as Record<string, Code>)[name];
  if (code === undefined) throw new RangeError(`iced-x86 has no "${name}"`);
  return code;
}

function* wordsOf(names: readonly string[]): Generator<string> {
  const codes = names.map(codeOf).sort((a, b) => a - b);
  let next = 0;
  for (const code of codes) {
    if (code !== next) yield `${code}`;
    yield Code[code]!;
    next = code + 1;
  }
}

function linesOf(words: Iterable<string>): string[] {
  const lines = [""];
  for (const word of words) {
    const line = `${lines.at(-1)} ${word}`.trim();
    if (line.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line;
  }
  return lines;
}

/** What `codes.ts` is to be. */
export function codesSource(): string {
  const words = wordsOf(ALL_FORMS.map((form) => form.name));
  return `\
// iced-x86's codes of all forms that the processor has: made by \`make_codes.ts\`.

/**
 * Their names in the order of their numbers, which begin at 0 and go on from the number
 * before a name.
 */
export const CODES = \`
${linesOf(words).join("\n")}
\`;
`;
}

if (import.meta.main) Deno.writeTextFileSync(PATH, codesSource());
