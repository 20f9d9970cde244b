// getopt(3) and getopt_long(3) as FreeBSD's commands use them (POSIX.1-2017,
// XBD 12.2; getopt_long as in FreeBSD, with GNU's messages).

/** One option as it was given. */
export interface GivenOption {
  readonly option: string;
  /** its argument, if it takes one */
  readonly argument?: string;
}

/** What getopt(3) made of a command line. */
export interface ShortOptions {
  /** the options up to the first argument that is none, or to a bad one */
  readonly options: readonly GivenOption[];
  /** what is left */
  readonly rest: readonly string[];
  /** what getopt(3) says about the option at which it stopped */
  readonly error?: string;
}

/**
 * Reads options of one letter, which may be combined (`-AHP`), with arguments
 * attached or in the next word.
 *
 * @param spec letters, with a colon behind those that take an argument
 */
export function getopt(args: readonly string[], spec: string): ShortOptions {
  const options: GivenOption[] = [];
  let at = 0;
  while (at < args.length) {
    const word = args[at]!;
    if (!word.startsWith("-") || word === "-") break;
    at++;
    if (word === "--") break;
    const { given, takesNext, error } = readCluster(word.slice(1), spec);
    options.push(...given);
    if (error !== undefined) return { options, rest: args.slice(at), error };
    if (takesNext === undefined) continue;
    const argument = args[at++];
    if (argument === undefined) {
      const missing = `option requires an argument -- ${takesNext}`;
      return { options, rest: [], error: missing };
    }
    options.push({ option: takesNext, argument });
  }
  return { options, rest: args.slice(at) };
}

interface Cluster {
  readonly given: readonly GivenOption[];
  /** the last letter, where its argument is the next word */
  readonly takesNext?: string;
  readonly error?: string;
}

function readCluster(letters: string, spec: string): Cluster {
  const given: GivenOption[] = [];
  for (let n = 0; n < letters.length; n++) {
    const option = letters[n]!;
    const known = option === ":" ? -1 : spec.indexOf(option);
    if (known < 0) return { given, error: `illegal option -- ${option}` };
    if (spec[known + 1] !== ":") {
      given.push({ option });
      continue;
    }
    const argument = letters.slice(n + 1);
    if (argument === "") return { given, takesNext: option };
    return { given: [...given, { option, argument }] };
  }
  return { given };
}

/** Whether a long option takes an argument, by its name. */
export type LongSpec = ReadonlyMap<string, boolean>;

/** What getopt_long(3) made of a command line. */
export interface LongOptions {
  readonly options: readonly GivenOption[];
  readonly error?: string;
}

/**
 * Reads long options; a unique beginning of a name stands for it. Words that are
 * no options are passed over.
 */
export function getoptLong(
  args: readonly string[],
  spec: LongSpec,
): LongOptions {
  const options: GivenOption[] = [];
  for (let at = 0; at < args.length; at++) {
    const word = args[at]!;
    if (word === "--") break;
    if (!word.startsWith("-") || word === "-") continue;
    if (!word.startsWith("--")) {
      return { options, error: `invalid option -- ${word[1]}` };
    }
    const result = readLong(word.slice(2), args[at + 1], spec);
    if (typeof result === "string") return { options, error: result };
    options.push(result.given);
    if (result.usesNext) at++;
  }
  return { options };
}

interface LongGiven {
  readonly given: GivenOption;
  readonly usesNext: boolean;
}

function readLong(
  text: string,
  next: string | undefined,
  spec: LongSpec,
): LongGiven | string {
  const equals = text.indexOf("=");
  const name = equals < 0 ? text : text.slice(0, equals);
  const matches = spec.has(name)
    ? [name]
    : [...spec.keys()].filter((known) => known.startsWith(name));
  const [option] = matches;
  if (option === undefined) return `unrecognized option \`--${text}'`;
  if (matches.length > 1) return `option \`--${name}' is ambiguous`;
  const attached = equals < 0 ? undefined : text.slice(equals + 1);
  if (!spec.get(option)) {
    if (attached === undefined) return { given: { option }, usesNext: false };
    return `option \`--${name}' doesn't allow an argument`;
  }
  const argument = attached ?? next;
  if (argument === undefined) return `option \`--${name}' requires an argument`;
  return { given: { option, argument }, usesNext: attached === undefined };
}
